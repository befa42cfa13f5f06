import { FrameError, MAX_FRAME_BYTES, MAX_MESSAGE_BYTES } from '@shoal/protocol';
import type { DataChannelLike } from './channel.ts';
import { TransportError } from './errors.ts';
import { ID_MASK, readMessage, writeFragment, writeFrame, writeSignal, type LapMessage } from './fragment.ts';
import type { Lane, LaneListeners } from './data-channel.ts';
import { Lanes } from './data-channels.ts';
import type { Link, LinkCloseReason, LinkStats } from './link.ts';
import { Reassembly } from './reassembly.ts';
import { type Outgoing, SendQueue } from './send-queue.ts';

const POLL_MS = 2;
/** Where the event exists the poll is only a safeguard against one that went missing. */
const SAFEGUARD_POLL_MS = 250;

/** Closing an unordered channel overtakes what was sent before it: a goodbye gets this long to arrive, then it is closed anyway. */
const GOODBYE_FLUSH_MS = 150;

export interface FramedChannelOptions {
  /** How often to ping. Without it this side only answers, which needs no timer and so works in a throttled tab. */
  heartbeatMs?: number;
  /**
   * Largest frame that may arrive; a longer one closes the link with `protocol`. Whoever knows the model knows it (rows × hidden
   * size × 2 B), and bounds with it what a stranger can make it hold: about five such frames. MAX_FRAME_BYTES by default.
   */
  maxFrameBytes?: number;
  /** For the owner of the connection beneath: called once when the link has closed, just before `onClose`. */
  afterClose?: (reason: LinkCloseReason) => void;
  /** While less waits in the main channel's buffer, added ones are not used. 0 by default: fragments are spread from the first on. */
  spreadAboveBytes?: number;
  /** An added channel has ended, is silent, or was refused for the link is closed; the link goes on without it. */
  onChannelLost?: (channel: DataChannelLike) => void;
  /** Milliseconds that only go forward. */
  now?: () => number;
}

/**
 * A Link over one data channel or several: frames in messages of at most 16 KiB, put together again in bounded memory whatever
 * their order, with backpressure and heartbeats for each channel. Frames sent while the channel is still connecting wait in the
 * queue. A message that is not ours closes the link with `protocol`, and so does a FrameError thrown by `onFrame`; other errors of
 * a listener are bugs and pass through. `onClose` is called once, also after a local `close`.
 */
export class FramedChannel implements Link {
  onFrame: ((frame: Uint8Array) => void) | undefined;
  onClose: ((reason: LinkCloseReason) => void) | undefined;
  #options: FramedChannelOptions;
  #now: () => number;
  #state: 'open' | 'closed' = 'open';
  #queue = new SendQueue();
  #reassembly: Reassembly;
  #lanes: Lanes;
  #heartbeatTimer: ReturnType<typeof setInterval> | undefined;
  #pollTimer: ReturnType<typeof setTimeout> | undefined;
  #scratch = new Uint8Array(MAX_MESSAGE_BYTES);
  #nextFrameId = 0;
  #bytesSent = 0;
  #bytesReceived = 0;
  #framesSent = 0;
  #framesReceived = 0;

  constructor(channel: DataChannelLike, options: FramedChannelOptions = {}) {
    this.#options = options;
    this.#now = options.now ?? (() => performance.now());
    this.#reassembly = new Reassembly(options.maxFrameBytes);
    const listeners: LaneListeners = {
      onMessage: (lane, data) => this.#onMessage(lane, data),
      onRoom: () => this.#pump(),
      onEnd: (lane, reason) => {
        this.#onLaneEnd(lane, reason);
        this.#pump();
      },
    };
    this.#lanes = new Lanes(channel, listeners, options.spreadAboveBytes ?? 0);
    if (options.heartbeatMs !== undefined) {
      this.#heartbeatTimer = setInterval(() => this.#tick(), options.heartbeatMs);
    }
  }

  /** The main channel; whoever sends on it directly speaks the fragment layer. */
  get channel(): DataChannelLike {
    return this.#lanes.main.channel;
  }

  /** Channels of the link, open or still connecting: the main one first. */
  get channels(): readonly DataChannelLike[] {
    return this.#lanes.all.map(({ channel }) => channel);
  }

  /** A further channel to the same peer, of a connection of its own. It is used as soon as it is open, for as long as it is. */
  addChannel(channel: DataChannelLike): void {
    if (this.#state === 'open') return this.#lanes.add(channel);
    channel.close();
    this.#options.onChannelLost?.(channel);
  }

  get state(): 'open' | 'closed' {
    return this.#state;
  }

  send(frame: Uint8Array): Promise<void> {
    if (this.#state === 'closed') return Promise.reject(new TransportError('closed', 'The link is closed.'));
    if (frame.byteLength > MAX_FRAME_BYTES) {
      const message = `A frame of ${frame.byteLength} B is over the limit of ${MAX_FRAME_BYTES} B: send fewer rows in one lap.`;
      return Promise.reject(new TransportError('too-large', message));
    }
    const sent = this.#queue.add(frame, this.#nextFrameId);
    this.#nextFrameId = (this.#nextFrameId + 1) & ID_MASK;
    this.#pump();
    return sent;
  }

  close(reason: LinkCloseReason = 'closed'): void {
    if (this.#state === 'closed') return;
    if (reason !== 'goodbye') {
      this.#finish(reason);
      return;
    }
    if (this.#lanes.main.isOpen) this.#sendOn(this.#lanes.main, writeSignal('goodbye'));
    this.#finish(reason, GOODBYE_FLUSH_MS);
  }

  stats(): LinkStats {
    return {
      bytesSent: this.#bytesSent,
      bytesReceived: this.#bytesReceived,
      framesSent: this.#framesSent,
      framesReceived: this.#framesReceived,
      rttMs: this.#lanes.main.heartbeat.rttMs,
      lost: this.#reassembly.lost,
    };
  }

  #pump(): void {
    while (this.#state === 'open' && !this.#queue.isEmpty) {
      const outcome = this.#queue.sendNext(this.#sendMessage);
      if (outcome === 'frame-sent') this.#framesSent++;
      else if (outcome === 'blocked') break;
    }
    if (this.#state === 'open' && !this.#queue.isEmpty) this.#pollLater();
  }

  #sendMessage = ({ frame, frameId, count, payloadBytes }: Outgoing, index: number): boolean => {
    const isWhole = count === 1;
    for (;;) {
      const lane = isWhole ? this.#lanes.forWhole() : this.#lanes.forFragment();
      if (lane === undefined) return false;
      const message = isWhole
        ? writeFrame(this.#scratch, frame, frameId)
        : writeFragment(this.#scratch, frame, frameId, index, payloadBytes);
      if (this.#sendOn(lane, message)) return true;
      if (this.#state !== 'open') return false;
    }
  };

  #sendOn(lane: Lane, message: Uint8Array<ArrayBuffer>): boolean {
    try {
      lane.channel.send(message);
    } catch {
      // The channel refuses what it accepted a moment ago: it is dying, and its close event may never come.
      this.#onLaneEnd(lane, 'failed');
      return false;
    }
    this.#bytesSent += message.byteLength;
    return true;
  }

  #pollLater(): void {
    const { hasLowEvent } = this.#lanes.main;
    this.#pollTimer ??= setTimeout(
      () => {
        this.#pollTimer = undefined;
        this.#pump();
      },
      hasLowEvent ? SAFEGUARD_POLL_MS : POLL_MS,
    );
  }

  #onMessage(lane: Lane, data: unknown): void {
    if (this.#state === 'closed') return;
    const message = readMessage(data);
    if (message === undefined) {
      this.#finish('protocol');
      return;
    }
    lane.heartbeat.alive();
    this.#bytesReceived += (data as ArrayBuffer).byteLength;
    this.#handle(lane, message);
  }

  #handle(lane: Lane, message: LapMessage): void {
    switch (message.kind) {
      case 'frame':
      case 'fragment': {
        const nowMs = this.#now();
        this.#reassembly.expire(nowMs);
        const frame = this.#reassembly.add(message, nowMs);
        if (frame === 'invalid') this.#finish('protocol');
        else if (frame !== undefined) this.#deliver(frame);
        break;
      }
      case 'ping':
        // A flood of pings must not fill our buffer with answers.
        if (lane.hasRoom) this.#sendOn(lane, writeSignal('pong', message.id));
        break;
      case 'pong':
        lane.heartbeat.pong(message.id, this.#now());
        break;
      case 'goodbye':
        this.#finish('goodbye');
        break;
      default:
        message satisfies never;
    }
  }

  #deliver(frame: Uint8Array): void {
    this.#framesReceived++;
    try {
      this.onFrame?.(frame);
    } catch (error) {
      if (!(error instanceof FrameError)) throw error;
      this.#finish('protocol');
    }
  }

  #tick(): void {
    if (this.#state === 'closed') return;
    const nowMs = this.#now();
    this.#reassembly.expire(nowMs);
    for (const lane of this.#lanes.all) {
      if (!lane.isOpen) continue;
      const ping = lane.heartbeat.tick(nowMs);
      if (ping === 'dead') this.#onLaneEnd(lane, 'heartbeat');
      else this.#sendOn(lane, writeSignal('ping', ping));
    }
  }

  #onLaneEnd(lane: Lane, reason: LinkCloseReason): void {
    if (this.#state === 'closed' || !this.#lanes.all.includes(lane)) return;
    if (lane === this.#lanes.main) return this.#finish(reason);
    this.#lanes.drop(lane);
    this.#options.onChannelLost?.(lane.channel);
  }

  #finish(reason: LinkCloseReason, channelCloseDelayMs = 0): void {
    if (this.#state === 'closed') return;
    this.#state = 'closed';
    clearInterval(this.#heartbeatTimer);
    clearTimeout(this.#pollTimer);
    this.#queue.rejectAll(new TransportError('closed', `The link was closed (${reason}).`));
    this.#reassembly.clear();
    for (const lane of this.#lanes.all) lane.close(channelCloseDelayMs);
    this.#options.afterClose?.(reason);
    this.onClose?.(reason);
  }
}

import { FrameError, HEARTBEAT_MS, MAX_FRAME_BYTES, MAX_MESSAGE_BYTES } from '@shoal/protocol';
import type { DataChannelLike } from './channel.ts';
import { TransportError } from './errors.ts';
import { ID_MASK, readMessage, writeFragment, writeFrame, writeSignal, type LapMessage } from './fragment.ts';
import type { LinkChannel, LinkChannelListeners } from './link-channel.ts';
import { LinkChannels } from './link-channels.ts';
import type { Link, LinkCloseReason, LinkStats } from './link.ts';
import { MessageAllowance } from './message-allowance.ts';
import { Reassembly } from './reassembly.ts';
import { type Outgoing, SendQueue } from './send-queue.ts';

const POLL_MS = 2;
/** Where the low-water event exists, the poll only guards against a missed one. */
const SAFEGUARD_POLL_MS = 250;

/** Closing an unordered channel overtakes what was sent before, so a goodbye gets this long to arrive. */
const GOODBYE_FLUSH_MS = 150;

export interface FramedChannelOptions {
  /** How often to ping. Without it this side only answers pings, which needs no timer and so works in a throttled tab. */
  heartbeatMs?: number;
  /** Unanswered pings in a row after which a channel is given up. MAX_MISSED_HEARTBEATS by default. */
  maxMissedHeartbeats?: number;
  /**
   * Largest frame to accept; a longer one closes the link with `protocol`. It follows from the model (rows × hidden size × 2 B)
   * and bounds what a stranger can make this side hold: about five such frames. MAX_FRAME_BYTES by default.
   */
  maxFrameBytes?: number;
  /** Whether the other side only answers: more messages than its answers can take close the link with `protocol`. */
  onlyAnswers?: boolean;
  /** For the owner of the underlying connection: called once when the link has closed, just before `onClose`. */
  afterClose?: (reason: LinkCloseReason) => void;
  /** Added channels are used only above this many bytes in the main channel's buffer. 0 by default: fragments always spread. */
  spreadAboveBytes?: number;
  /** An added channel has ended, went silent, or came after the link was closed. */
  onChannelLost?: (channel: DataChannelLike) => void;
  /** Monotonic clock, in milliseconds. */
  now?: () => number;
}

/**
 * A Link over one or more data channels: sends frames in messages of at most 16 KiB and reassembles them from any order in
 * bounded memory, with backpressure and a heartbeat per channel. Frames sent while the channel is connecting are queued. A
 * malformed message or a FrameError thrown by `onFrame` closes the link with `protocol`; a listener's other errors are bugs and
 * pass through. `onClose` is called once, also after a local `close`.
 */
export class FramedChannel implements Link {
  onFrame: ((frame: Uint8Array) => void) | undefined;
  onClose: ((reason: LinkCloseReason) => void) | undefined;
  #options: FramedChannelOptions;
  #now: () => number;
  #state: 'open' | 'closed' = 'open';
  #queue = new SendQueue();
  #reassembly: Reassembly;
  #channels: LinkChannels;
  #allowance: MessageAllowance | undefined;
  #heartbeatTimer: ReturnType<typeof setInterval> | undefined;
  #tickedMs: number;
  #wasLate = false;
  #pollTimer: ReturnType<typeof setTimeout> | undefined;
  #scratch = new Uint8Array(MAX_MESSAGE_BYTES);
  #nextFrameId = 0;
  #counts = { bytesSent: 0, bytesReceived: 0, framesSent: 0, framesReceived: 0 };

  constructor(dataChannel: DataChannelLike, options: FramedChannelOptions = {}) {
    this.#options = options;
    this.#now = options.now ?? (() => performance.now());
    this.#tickedMs = this.#now();
    this.#reassembly = new Reassembly(options.maxFrameBytes);
    if (options.onlyAnswers) {
      const { maxFrameBytes = MAX_FRAME_BYTES, heartbeatMs = HEARTBEAT_MS } = options;
      this.#allowance = new MessageAllowance(maxFrameBytes, heartbeatMs, this.#now());
    }
    const listeners: LinkChannelListeners = {
      onMessage: (channel, data) => this.#onMessage(channel, data),
      onRoom: () => this.#pump(),
      onEnd: (channel, reason) => {
        this.#onChannelEnd(channel, reason);
        this.#pump();
      },
    };
    this.#channels = new LinkChannels(dataChannel, listeners, options.spreadAboveBytes ?? 0);
    if (options.heartbeatMs !== undefined) {
      this.#heartbeatTimer = setInterval(() => this.#tick(), options.heartbeatMs);
    }
  }

  /** The main channel. What is sent on it directly must follow the fragment layer. */
  get channel(): DataChannelLike {
    return this.#channels.main.dataChannel;
  }

  /** Channels that are open or still connecting, the main one first. */
  get channels(): readonly DataChannelLike[] {
    return this.#channels.all.map(({ dataChannel }) => dataChannel);
  }

  /** Adds a channel to the same peer over a connection of its own; it is used for as long as it is open. */
  addChannel(dataChannel: DataChannelLike): void {
    if (this.#state === 'open') return this.#channels.add(dataChannel);
    dataChannel.close();
    this.#options.onChannelLost?.(dataChannel);
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
    this.#allowance?.sent(frame.byteLength);
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
    if (this.#channels.main.isOpen) this.#sendOn(this.#channels.main, writeSignal('goodbye'));
    this.#finish(reason, GOODBYE_FLUSH_MS);
  }

  stats(): LinkStats {
    return { ...this.#counts, rttMs: this.#channels.main.heartbeat.rttMs, lost: this.#reassembly.lost };
  }

  #pump(): void {
    while (this.#state === 'open' && !this.#queue.isEmpty) {
      const outcome = this.#queue.sendNext(this.#sendMessage);
      if (outcome === 'frame-sent') this.#counts.framesSent++;
      else if (outcome === 'blocked') break;
    }
    if (this.#state === 'open' && !this.#queue.isEmpty) this.#pollLater();
  }

  #sendMessage = ({ frame, frameId, count, payloadBytes }: Outgoing, index: number): boolean => {
    const isWhole = count === 1;
    for (;;) {
      const channel = isWhole ? this.#channels.forWhole() : this.#channels.forFragment();
      if (channel === undefined) return false;
      const message = isWhole
        ? writeFrame(this.#scratch, frame, frameId)
        : writeFragment(this.#scratch, frame, frameId, index, payloadBytes);
      if (this.#sendOn(channel, message)) return true;
      if (this.#state !== 'open') return false;
    }
  };

  #sendOn(channel: LinkChannel, message: Uint8Array<ArrayBuffer>): boolean {
    try {
      channel.dataChannel.send(message);
    } catch {
      // A channel that suddenly refuses is dying, and its close event may never come.
      this.#onChannelEnd(channel, 'failed');
      return false;
    }
    this.#counts.bytesSent += message.byteLength;
    return true;
  }

  #pollLater(): void {
    const { hasLowEvent } = this.#channels.main;
    this.#pollTimer ??= setTimeout(
      () => {
        this.#pollTimer = undefined;
        this.#pump();
      },
      hasLowEvent ? SAFEGUARD_POLL_MS : POLL_MS,
    );
  }

  #onMessage(channel: LinkChannel, data: unknown): void {
    if (this.#state === 'closed') return;
    const message = readMessage(data);
    if (message === undefined || this.#isTooMany(message)) {
      this.#finish('protocol');
      return;
    }
    channel.heartbeat.alive();
    this.#counts.bytesReceived += (data as ArrayBuffer).byteLength;
    this.#handle(channel, message);
  }

  #isTooMany({ kind }: LapMessage): boolean {
    if (this.#allowance === undefined) return false;
    const isSignal = kind === 'ping' || kind === 'pong';
    return !(isSignal ? this.#allowance.takeSignal(this.#now()) : this.#allowance.take(this.#now()));
  }

  #handle(channel: LinkChannel, message: LapMessage): void {
    switch (message.kind) {
      case 'frame':
      case 'fragment': {
        const nowMs = this.#now();
        this.#reassembly.expire(nowMs);
        const frame = this.#reassembly.add(message, nowMs);
        if (frame === 'invalid') this.#finish('protocol');
        else if (frame !== undefined) {
          this.#allowance?.received(frame.byteLength, message.kind === 'frame' ? 1 : message.count);
          this.#deliver(frame);
        }
        break;
      }
      case 'ping':
        // A flood of pings must not fill our buffer with pongs.
        if (channel.hasRoom) this.#sendOn(channel, writeSignal('pong', message.id));
        break;
      case 'pong':
        channel.heartbeat.pong(message.id, this.#now());
        break;
      case 'goodbye':
        this.#finish('goodbye');
        break;
      default:
        message satisfies never;
    }
  }

  #deliver(frame: Uint8Array): void {
    this.#counts.framesReceived++;
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
    const counts = this.#isOnTime(nowMs);
    this.#reassembly.expire(nowMs);
    this.#allowance?.tick();
    for (const channel of this.#channels.all) {
      if (!channel.isOpen) continue;
      const ping = channel.heartbeat.tick(nowMs, this.#options.maxMissedHeartbeats, counts);
      if (ping === 'dead') this.#onChannelEnd(channel, 'heartbeat');
      else this.#sendOn(channel, writeSignal('ping', ping));
    }
  }

  /**
   * False for a tick after a time in which this process was blocked, since what arrived meanwhile is only read after it. Of two
   * late ticks in a row the second counts: a throttled tab has no others.
   */
  #isOnTime(nowMs: number): boolean {
    const isLate = nowMs - this.#tickedMs > 2 * this.#options.heartbeatMs!;
    const isOnTime = !isLate || this.#wasLate;
    this.#tickedMs = nowMs;
    this.#wasLate = isLate;
    return isOnTime;
  }

  #onChannelEnd(channel: LinkChannel, reason: LinkCloseReason): void {
    if (this.#state === 'closed' || !this.#channels.all.includes(channel)) return;
    if (channel === this.#channels.main) return this.#finish(reason);
    this.#channels.drop(channel);
    this.#options.onChannelLost?.(channel.dataChannel);
  }

  #finish(reason: LinkCloseReason, channelCloseDelayMs = 0): void {
    if (this.#state === 'closed') return;
    this.#state = 'closed';
    clearInterval(this.#heartbeatTimer);
    clearTimeout(this.#pollTimer);
    this.#queue.rejectAll(new TransportError('closed', `The link was closed (${reason}).`));
    this.#reassembly.clear();
    for (const channel of this.#channels.all) channel.close(channelCloseDelayMs);
    this.#options.afterClose?.(reason);
    this.onClose?.(reason);
  }
}

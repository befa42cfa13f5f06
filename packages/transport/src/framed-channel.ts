import { FrameError, MAX_FRAME_BYTES, MAX_MESSAGE_BYTES } from '@shoal/protocol';
import type { DataChannelLike } from './channel.ts';
import { TransportError } from './errors.ts';
import { ID_MASK, readMessage, writeFragment, writeFrame, writeSignal, type LapMessage } from './fragment.ts';
import { Heartbeat } from './heartbeat.ts';
import type { Link, LinkCloseReason, LinkStats } from './link.ts';
import { Reassembly } from './reassembly.ts';
import { type Outgoing, SendQueue } from './send-queue.ts';

/**
 * What may lie in the channel's own buffer, where nothing can overtake it: enough to keep the wire busy until
 * `bufferedamountlow` has been handled, little enough that a small lap behind it waits only milliseconds.
 */
export const HIGH_WATER_BYTES = 256 * 1024;
export const LOW_WATER_BYTES = 64 * 1024;
/** @roamhq/wrtc has no low-water event and lost data without an error when its buffer grew to megabytes: stay far below. */
export const POLLED_HIGH_WATER_BYTES = 64 * 1024;
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
  /** Milliseconds that only go forward. */
  now?: () => number;
}

/**
 * A Link over one data channel: frames in messages of at most 16 KiB, put together again in bounded memory whatever their order,
 * with backpressure and heartbeats. Frames sent while the channel is still connecting wait in the queue. A message that is not
 * ours closes the link with `protocol`, and so does a FrameError thrown by `onFrame`; other errors of a listener are bugs and
 * pass through. `onClose` is called once, also after a local `close`.
 */
export class FramedChannel implements Link {
  onFrame: ((frame: Uint8Array) => void) | undefined;
  onClose: ((reason: LinkCloseReason) => void) | undefined;
  /** What carries it; whoever sends on it directly speaks the fragment layer. */
  readonly channel: DataChannelLike;
  #now: () => number;
  #afterClose: ((reason: LinkCloseReason) => void) | undefined;
  #state: 'open' | 'closed' = 'open';
  #queue = new SendQueue();
  #reassembly: Reassembly;
  #heartbeat = new Heartbeat();
  #heartbeatTimer: ReturnType<typeof setInterval> | undefined;
  #pollTimer: ReturnType<typeof setTimeout> | undefined;
  #scratch = new Uint8Array(MAX_MESSAGE_BYTES);
  #hasLowEvent: boolean;
  #highWaterBytes: number;
  #nextFrameId = 0;
  #bytesSent = 0;
  #bytesReceived = 0;
  #framesSent = 0;
  #framesReceived = 0;

  constructor(channel: DataChannelLike, options: FramedChannelOptions = {}) {
    this.channel = channel;
    this.#now = options.now ?? (() => performance.now());
    this.#afterClose = options.afterClose;
    this.#reassembly = new Reassembly(options.maxFrameBytes);
    this.#hasLowEvent = typeof channel.bufferedAmountLowThreshold === 'number';
    this.#highWaterBytes = this.#hasLowEvent ? HIGH_WATER_BYTES : POLLED_HIGH_WATER_BYTES;
    channel.binaryType = 'arraybuffer';
    if (this.#hasLowEvent) channel.bufferedAmountLowThreshold = LOW_WATER_BYTES;
    channel.addEventListener('message', this.#onMessage);
    channel.addEventListener('open', this.#pump);
    channel.addEventListener('bufferedamountlow', this.#pump);
    channel.addEventListener('close', this.#onChannelClose);
    channel.addEventListener('error', this.#onChannelError);
    // A channel may die on its way to a worker; its event is gone by then. Later, so that onClose can be set first.
    if (channel.readyState === 'closing' || channel.readyState === 'closed') queueMicrotask(this.#onChannelClose);
    if (options.heartbeatMs !== undefined) {
      this.#heartbeatTimer = setInterval(() => this.#tick(), options.heartbeatMs);
    }
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
    this.#sendSignal('goodbye');
    this.#finish(reason, GOODBYE_FLUSH_MS);
  }

  stats(): LinkStats {
    return {
      bytesSent: this.#bytesSent,
      bytesReceived: this.#bytesReceived,
      framesSent: this.#framesSent,
      framesReceived: this.#framesReceived,
      rttMs: this.#heartbeat.rttMs,
      lost: this.#reassembly.lost,
    };
  }

  #pump = (): void => {
    while (this.#canSend() && !this.#queue.isEmpty) {
      try {
        if (this.#queue.sendNext(this.#sendMessage)) this.#framesSent++;
      } catch {
        // The channel refuses what it accepted a moment ago: it is dying, and its close event may never come.
        this.#finish('failed');
        return;
      }
    }
    if (this.#state === 'open' && !this.#queue.isEmpty) this.#pollLater();
  };

  #canSend(): boolean {
    return (
      this.#state === 'open' && this.channel.readyState === 'open' && this.channel.bufferedAmount < this.#highWaterBytes
    );
  }

  #sendMessage = ({ frame, frameId, count, payloadBytes }: Outgoing, index: number): void => {
    const message =
      count === 1
        ? writeFrame(this.#scratch, frame, frameId)
        : writeFragment(this.#scratch, frame, frameId, index, payloadBytes);
    this.channel.send(message);
    this.#bytesSent += message.byteLength;
  };

  #pollLater(): void {
    this.#pollTimer ??= setTimeout(
      () => {
        this.#pollTimer = undefined;
        this.#pump();
      },
      this.#hasLowEvent ? SAFEGUARD_POLL_MS : POLL_MS,
    );
  }

  #onMessage = (event: { data: unknown }): void => {
    if (this.#state === 'closed') return;
    const message = readMessage(event.data);
    if (message === undefined) {
      this.#finish('protocol');
      return;
    }
    this.#heartbeat.alive();
    this.#bytesReceived += (event.data as ArrayBuffer).byteLength;
    this.#handle(message);
  };

  #handle(message: LapMessage): void {
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
        if (this.#canSend()) this.#sendSignal('pong', message.id);
        break;
      case 'pong':
        this.#heartbeat.pong(message.id, this.#now());
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
    if (this.#state === 'closed' || this.channel.readyState !== 'open') return;
    const nowMs = this.#now();
    this.#reassembly.expire(nowMs);
    const ping = this.#heartbeat.tick(nowMs);
    if (ping === 'dead') this.#finish('heartbeat');
    else this.#sendSignal('ping', ping);
  }

  #sendSignal(kind: 'ping' | 'pong' | 'goodbye', id?: number): void {
    if (this.channel.readyState !== 'open') return;
    const message = writeSignal(kind, id);
    try {
      this.channel.send(message);
      this.#bytesSent += message.byteLength;
    } catch {
      this.#finish('failed');
    }
  }

  #onChannelClose = (): void => this.#finish('remote-closed');
  #onChannelError = (event: unknown): void => this.#finish(isUserAbort(event) ? 'remote-closed' : 'failed');

  #finish(reason: LinkCloseReason, channelCloseDelayMs = 0): void {
    if (this.#state === 'closed') return;
    this.#state = 'closed';
    clearInterval(this.#heartbeatTimer);
    clearTimeout(this.#pollTimer);
    const channel = this.channel;
    channel.removeEventListener('message', this.#onMessage);
    channel.removeEventListener('open', this.#pump);
    channel.removeEventListener('bufferedamountlow', this.#pump);
    channel.removeEventListener('close', this.#onChannelClose);
    channel.removeEventListener('error', this.#onChannelError);

    this.#queue.rejectAll(new TransportError('closed', `The link was closed (${reason}).`));
    this.#reassembly.clear();
    if (channelCloseDelayMs > 0) setTimeout(() => closeQuietly(channel), channelCloseDelayMs);
    else closeQuietly(channel);
    this.#afterClose?.(reason);
    this.onClose?.(reason);
  }
}

function closeQuietly(channel: DataChannelLike): void {
  try {
    channel.close();
  } catch {
    // Closing what the other side has torn down already may throw; closed is what it should be.
  }
}

/** SCTP's cause of error 12: Chrome reports it when the other side closed its whole connection, not the channel first. */
const USER_INITIATED_ABORT = 12;

function isUserAbort(event: unknown): boolean {
  const error = (event as { error?: { sctpCauseCode?: number | null } | null }).error;
  return error?.sctpCauseCode === USER_INITIATED_ABORT;
}

import type { DataChannelLike } from './channel.ts';
import { Heartbeat } from './heartbeat.ts';

/**
 * What may lie in a channel's own buffer, where nothing can overtake it: enough to keep the wire busy until
 * `bufferedamountlow` has been handled, little enough that a small lap behind it waits only milliseconds.
 */
export const HIGH_WATER_BYTES = 256 * 1024;
export const LOW_WATER_BYTES = 64 * 1024;
/** @roamhq/wrtc has no low-water event and lost data without an error when its buffer grew to megabytes: stay far below. */
export const POLLED_HIGH_WATER_BYTES = 64 * 1024;

export interface LaneListeners {
  onMessage(lane: Lane, data: unknown): void;
  /** There may be room again. */
  onRoom(): void;
  onEnd(lane: Lane, reason: 'remote-closed' | 'failed'): void;
}

/** One data channel of a link: how much it still takes, and whether the other side is heard on it. */
export class Lane {
  readonly channel: DataChannelLike;
  readonly heartbeat = new Heartbeat();
  readonly hasLowEvent: boolean;
  readonly #highWaterBytes: number;
  readonly #listeners: LaneListeners;

  constructor(channel: DataChannelLike, listeners: LaneListeners) {
    this.channel = channel;
    this.#listeners = listeners;
    this.hasLowEvent = typeof channel.bufferedAmountLowThreshold === 'number';
    this.#highWaterBytes = this.hasLowEvent ? HIGH_WATER_BYTES : POLLED_HIGH_WATER_BYTES;
    channel.binaryType = 'arraybuffer';
    if (this.hasLowEvent) channel.bufferedAmountLowThreshold = LOW_WATER_BYTES;
    channel.addEventListener('message', this.#onMessage);
    channel.addEventListener('open', this.#onRoom);
    channel.addEventListener('bufferedamountlow', this.#onRoom);
    channel.addEventListener('close', this.#onClose);
    channel.addEventListener('error', this.#onError);
    // A channel may die on its way to a worker; its event is gone by then. Later, so that the link's onClose can be set first.
    if (channel.readyState === 'closing' || channel.readyState === 'closed') queueMicrotask(this.#onClose);
  }

  get isOpen(): boolean {
    return this.channel.readyState === 'open';
  }

  get bufferedBytes(): number {
    return this.channel.bufferedAmount;
  }

  get hasRoom(): boolean {
    return this.isOpen && this.bufferedBytes < this.#highWaterBytes;
  }

  /** Nothing is heard or told any more. */
  close(delayMs = 0): void {
    const { channel } = this;
    channel.removeEventListener('message', this.#onMessage);
    channel.removeEventListener('open', this.#onRoom);
    channel.removeEventListener('bufferedamountlow', this.#onRoom);
    channel.removeEventListener('close', this.#onClose);
    channel.removeEventListener('error', this.#onError);
    if (delayMs > 0) setTimeout(() => closeQuietly(channel), delayMs);
    else closeQuietly(channel);
  }

  #onMessage = (event: { data: unknown }): void => this.#listeners.onMessage(this, event.data);
  #onRoom = (): void => this.#listeners.onRoom();
  #onClose = (): void => this.#listeners.onEnd(this, 'remote-closed');
  #onError = (event: unknown): void => this.#listeners.onEnd(this, isUserAbort(event) ? 'remote-closed' : 'failed');
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

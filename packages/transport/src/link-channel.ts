import type { DataChannelLike } from './channel.ts';
import { Heartbeat } from './heartbeat.ts';

/**
 * Limit on a channel's own buffer, where nothing can overtake: enough to keep the wire busy until `bufferedamountlow` has been
 * handled, and little enough that a small lap behind it waits only milliseconds.
 */
export const HIGH_WATER_BYTES = 256 * 1024;
export const LOW_WATER_BYTES = 64 * 1024;
/** @roamhq/wrtc has no low-water event and silently lost data when its buffer grew to megabytes, so this stays far below. */
export const POLLED_HIGH_WATER_BYTES = 64 * 1024;

export interface LinkChannelListeners {
  onMessage(channel: LinkChannel, data: unknown): void;
  /** There may be room again. */
  onRoom(): void;
  onEnd(channel: LinkChannel, reason: 'remote-closed' | 'failed'): void;
}

/** One data channel of a link, with its buffer limit and its own heartbeat. */
export class LinkChannel {
  readonly dataChannel: DataChannelLike;
  readonly heartbeat = new Heartbeat();
  readonly hasLowEvent: boolean;
  readonly #highWaterBytes: number;
  readonly #listeners: LinkChannelListeners;

  constructor(dataChannel: DataChannelLike, listeners: LinkChannelListeners) {
    this.dataChannel = dataChannel;
    this.#listeners = listeners;
    this.hasLowEvent = typeof dataChannel.bufferedAmountLowThreshold === 'number';
    this.#highWaterBytes = this.hasLowEvent ? HIGH_WATER_BYTES : POLLED_HIGH_WATER_BYTES;
    dataChannel.binaryType = 'arraybuffer';
    if (this.hasLowEvent) dataChannel.bufferedAmountLowThreshold = LOW_WATER_BYTES;
    dataChannel.addEventListener('message', this.#onMessage);
    dataChannel.addEventListener('open', this.#onRoom);
    dataChannel.addEventListener('bufferedamountlow', this.#onRoom);
    dataChannel.addEventListener('close', this.#onClose);
    dataChannel.addEventListener('error', this.#onError);
    // A channel can die on its way to a worker, and its event is lost. Deferred so that the link's onClose can be set first.
    const { readyState } = dataChannel;
    if (readyState === 'closing' || readyState === 'closed') queueMicrotask(this.#onClose);
  }

  get isOpen(): boolean {
    return this.dataChannel.readyState === 'open';
  }

  get bufferedBytes(): number {
    return this.dataChannel.bufferedAmount;
  }

  get hasRoom(): boolean {
    return this.isOpen && this.bufferedBytes < this.#highWaterBytes;
  }

  /** Stops listening at once, and closes the channel after `delayMs`. */
  close(delayMs = 0): void {
    const { dataChannel } = this;
    dataChannel.removeEventListener('message', this.#onMessage);
    dataChannel.removeEventListener('open', this.#onRoom);
    dataChannel.removeEventListener('bufferedamountlow', this.#onRoom);
    dataChannel.removeEventListener('close', this.#onClose);
    dataChannel.removeEventListener('error', this.#onError);
    if (delayMs > 0) setTimeout(() => closeQuietly(dataChannel), delayMs);
    else closeQuietly(dataChannel);
  }

  #onMessage = (event: { data: unknown }): void => this.#listeners.onMessage(this, event.data);
  #onRoom = (): void => this.#listeners.onRoom();
  #onClose = (): void => this.#listeners.onEnd(this, 'remote-closed');
  #onError = (event: unknown): void => this.#listeners.onEnd(this, isUserAbort(event) ? 'remote-closed' : 'failed');
}

function closeQuietly(dataChannel: DataChannelLike): void {
  try {
    dataChannel.close();
  } catch {
    // Throws if the other side has already torn the channel down, which is what we want anyway.
  }
}

/** SCTP error cause 12: Chrome reports it when the other side closes its whole connection without closing the channel first. */
const USER_INITIATED_ABORT = 12;

function isUserAbort(event: unknown): boolean {
  const error = (event as { error?: { sctpCauseCode?: number | null } | null }).error;
  return error?.sctpCauseCode === USER_INITIATED_ABORT;
}

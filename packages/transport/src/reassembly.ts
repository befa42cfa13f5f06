import { MAX_FRAME_BYTES } from '@shoal/protocol';
import { type Fragment, type FrameMessage, isLast, leastFrameBytes } from './fragment.ts';

/**
 * A sender has at most MAX_FRAMES_IN_TURN unfinished frames in flight. But while one of several channels waits for a
 * retransmission, every frame with a fragment on it stays incomplete as the others go on delivering.
 */
export const MAX_PARTIAL_FRAMES = 1024;
/**
 * Bound on incomplete bytes, in largest frames. A lost packet holds up its frame for a retransmission timeout (0.4 s or more)
 * while the frames after it keep arriving: up to a sender's whole queue (MAX_QUEUED_BYTES) and one frame.
 */
const PARTIAL_FRAMES_OF_LARGEST_SIZE = 5;
/** With small frames, many are in flight at once. */
const MIN_PARTIAL_BYTES = 4 * 1024 * 1024;
/** A frame that gets no fragment for this long, far beyond a lap's deadline, is given up. */
export const MAX_PARTIAL_IDLE_MS = 10_000;
/** Ids remembered so that a late fragment of a delivered or abandoned frame does not start it again. */
const MAX_REMEMBERED_IDS = 1024;

interface Partial {
  count: number;
  /** Length of every fragment but the last; 0 until one of them has arrived. */
  payloadBytes: number;
  /** Length of the last fragment; 0 until it has arrived. */
  lastBytes: number;
  received: Map<number, Uint8Array>;
  bytes: number;
  touchedMs: number;
}

/** Reassembles frames from messages in any order, in bounded memory. */
export class Reassembly {
  /** Frames given up because they were idle too long or exceeded the bounds. */
  lost = 0;
  #partials = new Map<number, Partial>();
  #bytes = 0;
  #finished = new Set<number>();
  #maxFrameBytes: number;
  #maxBytes: number;

  constructor(maxFrameBytes = MAX_FRAME_BYTES) {
    this.#maxFrameBytes = maxFrameBytes;
    this.#maxBytes = Math.max(MIN_PARTIAL_BYTES, PARTIAL_FRAMES_OF_LARGEST_SIZE * maxFrameBytes);
  }

  get partialFrames(): number {
    return this.#partials.size;
  }

  get partialBytes(): number {
    return this.#bytes;
  }

  /**
   * Returns the whole frame once its last message is here, or `invalid` if the message contradicts an earlier one or its frame
   * exceeds the limit. Duplicates are dropped.
   */
  add(message: FrameMessage, nowMs: number): Uint8Array | 'invalid' | undefined {
    const { frameId, payload } = message;
    if (this.#finished.has(frameId)) return undefined;
    if (message.kind === 'fragment') return this.#addFragment(message, nowMs);
    if (payload.byteLength > this.#maxFrameBytes || this.#partials.has(frameId)) return 'invalid';
    this.#remember(frameId);
    return payload;
  }

  #addFragment(fragment: Fragment, nowMs: number): Uint8Array | 'invalid' | undefined {
    const { frameId, index, count, payload } = fragment;
    if (leastFrameBytes(fragment) > this.#maxFrameBytes) return 'invalid';
    let partial = this.#partials.get(frameId);
    if (partial === undefined) {
      partial = { count, payloadBytes: 0, lastBytes: 0, received: new Map(), bytes: 0, touchedMs: nowMs };
    }
    if (!fits(partial, fragment, this.#maxFrameBytes)) return 'invalid';
    if (partial.received.has(index)) return undefined;
    // Re-inserted, so that the map is ordered by each frame's latest fragment.
    this.#partials.delete(frameId);
    this.#partials.set(frameId, partial);
    if (isLast(fragment)) partial.lastBytes = payload.byteLength;
    else partial.payloadBytes = payload.byteLength;
    partial.touchedMs = nowMs;
    partial.received.set(index, payload);
    partial.bytes += payload.byteLength;
    this.#bytes += payload.byteLength;
    if (partial.received.size === count) {
      this.#drop(frameId, partial);
      return join(partial);
    }
    this.#enforceBounds();
    return undefined;
  }

  /** Gives up frames that have been idle too long. */
  expire(nowMs: number): void {
    for (const [frameId, partial] of this.#partials) {
      if (nowMs - partial.touchedMs < MAX_PARTIAL_IDLE_MS) return;
      this.#drop(frameId, partial);
      this.lost++;
    }
  }

  clear(): void {
    this.#partials.clear();
    this.#finished.clear();
    this.#bytes = 0;
  }

  #enforceBounds(): void {
    for (const [frameId, partial] of this.#partials) {
      if (this.#partials.size <= MAX_PARTIAL_FRAMES && this.#bytes <= this.#maxBytes) return;
      this.#drop(frameId, partial);
      this.lost++;
    }
  }

  #drop(frameId: number, partial: Partial): void {
    this.#partials.delete(frameId);
    this.#bytes -= partial.bytes;
    this.#remember(frameId);
  }

  #remember(frameId: number): void {
    this.#finished.add(frameId);
    if (this.#finished.size <= MAX_REMEMBERED_IDS) return;
    const oldest = this.#finished.values().next();
    if (!oldest.done) this.#finished.delete(oldest.value);
  }
}

/** Whether the fragment agrees with the earlier ones of its frame, and the frame is within the limit. */
function fits(partial: Partial, fragment: Fragment, maxFrameBytes: number): boolean {
  const { count, payload } = fragment;
  if (count !== partial.count) return false;
  const known = isLast(fragment) ? partial.lastBytes : partial.payloadBytes;
  if (known !== 0 && known !== payload.byteLength) return false;
  const lastBytes = isLast(fragment) ? payload.byteLength : partial.lastBytes;
  const payloadBytes = isLast(fragment) ? partial.payloadBytes : payload.byteLength;
  if (lastBytes === 0 || payloadBytes === 0) return true;
  return lastBytes <= payloadBytes && (count - 1) * payloadBytes + lastBytes <= maxFrameBytes;
}

function join({ count, payloadBytes, received, bytes }: Partial): Uint8Array {
  const frame = new Uint8Array(bytes);
  for (let index = 0; index < count; index++) frame.set(received.get(index)!, index * payloadBytes);
  return frame;
}

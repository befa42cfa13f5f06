import { MAX_FRAME_BYTES } from '@shoal/protocol';
import { type Fragment, type FrameMessage, isLast, leastFrameBytes } from './fragment.ts';

/** A sender has at most MAX_FRAMES_IN_TURN unfinished frames under way; retransmissions can keep several times that open. */
export const MAX_PARTIAL_FRAMES = 64;
/**
 * Largest frames' worth of unfinished bytes. One lost packet holds up its own frame for a retransmission timeout (0.4 s and
 * more), while unordered frames behind it go on arriving: as much as a sender's whole queue (MAX_QUEUED_BYTES) and one frame.
 */
const PARTIAL_FRAMES_OF_LARGEST_SIZE = 5;
/** Where frames are small many are under way at once. */
const MIN_PARTIAL_BYTES = 4 * 1024 * 1024;
/** Without a fragment for that long, nobody awaits the frame any more: far beyond a lap's deadline. */
export const MAX_PARTIAL_IDLE_MS = 10_000;
/** Ids remembered so that a fragment of a frame already delivered or given up does not begin it anew. */
const MAX_REMEMBERED_IDS = 1024;

interface Partial {
  count: number;
  /** Of every fragment but the last; 0 until one of them is there. */
  payloadBytes: number;
  /** 0 until the last is there. */
  lastBytes: number;
  received: Map<number, Uint8Array>;
  bytes: number;
  touchedMs: number;
}

/** Puts frames together from messages in any order, in bounded memory. */
export class Reassembly {
  /** Frames given up: idle too long, or pushed out by the bounds. */
  lost = 0;
  #partials = new Map<number, Partial>();
  #bytes = 0;
  #finished = new Set<number>();
  #maxFrameBytes: number;
  #maxBytes: number;

  /** Frames may be of `maxFrameBytes`, and not of a byte more. */
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
   * The whole frame once its last message is there; `invalid` if the message contradicts an earlier one of its frame, or belongs
   * to a frame over the limit. A repetition is dropped.
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
    // Set anew, so that the map's order is that of the last fragment.
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

  /** Gives up what has waited too long. */
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

/** Whether the fragment can be of the same frame as those before it, and the frame within its limit. */
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

import { MAX_FRAME_BYTES } from '@shoal/protocol';
import { FRAGMENT_PAYLOAD_BYTES, type Fragment } from './fragment.ts';

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
  received: Map<number, Uint8Array>;
  bytes: number;
  touchedMs: number;
}

/** Puts frames together from fragments in any order, in bounded memory. */
export class Reassembly {
  /** Frames given up: idle too long, or pushed out by the bounds. */
  lost = 0;
  #partials = new Map<number, Partial>();
  #bytes = 0;
  #finished = new Set<number>();
  #maxBytes: number;

  constructor(maxFrameBytes = MAX_FRAME_BYTES) {
    this.#maxBytes = Math.max(MIN_PARTIAL_BYTES, PARTIAL_FRAMES_OF_LARGEST_SIZE * maxFrameBytes);
  }

  get partialFrames(): number {
    return this.#partials.size;
  }

  get partialBytes(): number {
    return this.#bytes;
  }

  /** The whole frame once its last fragment is there; `invalid` if the fragment contradicts an earlier one. */
  add(fragment: Fragment, nowMs: number): Uint8Array | 'invalid' | undefined {
    const { frameId, index, count, payload } = fragment;
    if (this.#finished.has(frameId)) return undefined;
    if (count === 1 && !this.#partials.has(frameId)) {
      this.#remember(frameId);
      return payload;
    }
    let partial = this.#partials.get(frameId);
    if (partial === undefined) {
      partial = { count, received: new Map(), bytes: 0, touchedMs: nowMs };
    }
    if (partial.count !== count) return 'invalid';
    if (partial.received.has(index)) return undefined;
    // Set anew, so that the map's order is that of the last fragment.
    this.#partials.delete(frameId);
    this.#partials.set(frameId, partial);
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

function join({ count, received, bytes }: Partial): Uint8Array {
  const frame = new Uint8Array(bytes);
  for (let index = 0; index < count; index++) frame.set(received.get(index)!, index * FRAGMENT_PAYLOAD_BYTES);
  return frame;
}

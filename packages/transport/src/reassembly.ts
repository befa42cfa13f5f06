import { MAX_FRAME_BYTES } from '@shoal/protocol';
import { FRAGMENT_PAYLOAD_BYTES, type Fragment } from './fragment.ts';

/** A sender has at most MAX_FRAMES_IN_TURN unfinished frames under way; retransmissions can keep several times that open. */
export const MAX_PARTIAL_FRAMES = 64;
/** What one peer can make us hold without ever finishing a frame. Above MAX_BYTES_IN_TURN, with room for retransmission. */
export const MAX_PARTIAL_BYTES = 2 * MAX_FRAME_BYTES;
/** Far beyond a lap's deadline: nobody awaits the frame any more. */
export const MAX_PARTIAL_AGE_MS = 10_000;
/** Ids remembered so that a fragment of a frame already delivered or given up does not begin it anew. */
const MAX_REMEMBERED_IDS = 1024;

interface Partial {
  count: number;
  received: Map<number, Uint8Array>;
  bytes: number;
  startedMs: number;
}

/** Puts frames together from fragments in any order, in bounded memory. */
export class Reassembly {
  /** Frames given up: too old, or pushed out by the bounds. */
  lost = 0;
  #partials = new Map<number, Partial>();
  #bytes = 0;
  #finished = new Set<number>();

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
      partial = { count, received: new Map(), bytes: 0, startedMs: nowMs };
      this.#partials.set(frameId, partial);
    }
    if (partial.count !== count) return 'invalid';
    if (partial.received.has(index)) return undefined;
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

  /** Gives up what is too old. */
  expire(nowMs: number): void {
    for (const [frameId, partial] of this.#partials) {
      // Insertion order is age order.
      if (nowMs - partial.startedMs < MAX_PARTIAL_AGE_MS) return;
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
      if (this.#partials.size <= MAX_PARTIAL_FRAMES && this.#bytes <= MAX_PARTIAL_BYTES) return;
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

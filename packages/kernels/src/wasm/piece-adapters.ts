import { adapterRange, type ExpertAdapter, type ItemAdapters, type WorkItem } from '@shoal/model';
import { lowRankBytes, writeLowRank } from '../low-rank.ts';
import { alignUp } from '@shoal/weights';

/** The offsets of what is added to gate, up and down, before these. */
const HEADER_BYTES = alignUp(12);
/** A list's entry: the adapter's address, and its scales. */
const ENTRY_WORDS = 4;

/** What adapters add to some assignments of a lap, as `adapt` in assembly/expert-ffn.ts reads it; each adapter once. */
export class PieceAdapters {
  readonly #adapters: ItemAdapters | undefined;
  readonly #used = new Set<number>();
  bytes = 0;

  constructor({ adapters }: WorkItem) {
    this.#adapters = adapters;
  }

  /** Bytes with those of the assignments from `from` to `to`. */
  with(from: number, to: number): number {
    return this.#new(from, to).reduce((sum, index) => sum + bytesOf(this.#adapters!.experts[index]!), this.bytes);
  }

  add(from: number, to: number): void {
    this.bytes = this.with(from, to);
    for (const index of this.#new(from, to)) this.#used.add(index);
  }

  clear(): void {
    this.#used.clear();
    this.bytes = 0;
  }

  /** Words of the lists of the assignments from `from` to `to`, with a place for each that says where its list lies. */
  listWords(from: number, to: number): number {
    if (this.bytes === 0) return 0;
    const [first, end] = adapterRange(this.#adapters!, from, to);
    return 2 * (to - from) + ENTRY_WORDS * (end - first);
  }

  /** Writes the adapters, and returns where each lies. */
  write(buffer: ArrayBufferLike, address: number): Map<number, number> {
    const views = { i32: new Int32Array(buffer), f32: new Float32Array(buffer) };
    const addresses = new Map<number, number>();
    let at = address;
    for (const index of this.#used) {
      addresses.set(index, at);
      const first = at;
      at += HEADER_BYTES;
      for (const [i, part] of (['gate', 'up', 'down'] as const).entries()) {
        const matrices = this.#adapters!.experts[index]![part];
        views.i32[first / 4 + i] = matrices ? at - first : 0;
        if (!matrices) continue;
        writeLowRank(views, at, matrices);
        at += lowRankBytes(matrices);
      }
    }
    return addresses;
  }

  /** Writes the lists: for each slot where its own lies, 0 for none. The slots are those of the assignments from `from` on. */
  writeLists(
    buffer: ArrayBufferLike,
    address: number,
    { from, slotOf, addresses }: { from: number; slotOf: Int32Array; addresses: ReadonlyMap<number, number> },
  ): void {
    const { of, scales } = this.#adapters!;
    const words = this.listWords(from, from + slotOf.length);
    const i32 = new Int32Array(buffer, address, words);
    const f32 = new Float32Array(buffer, address, words);
    let at = slotOf.length;
    for (const [a, slot] of slotOf.entries()) {
      const [first, end] = adapterRange(this.#adapters!, from + a);
      i32[slot] = end > first ? address + 4 * at : 0;
      i32[at++] = end - first;
      for (let entry = first; entry < end; entry++, at += ENTRY_WORDS) {
        i32[at] = addresses.get(of[entry]!)!;
        f32.set(scales.subarray(3 * entry, 3 * entry + 3), at + 1);
      }
    }
  }

  #new(from: number, to: number): number[] {
    if (!this.#adapters) return [];
    const [first, end] = adapterRange(this.#adapters, from, to);
    return [...new Set(this.#adapters.of.subarray(first, end))].filter((index) => !this.#used.has(index));
  }
}

function bytesOf(adapter: ExpertAdapter): number {
  return Object.values(adapter).reduce((sum, matrices) => sum + lowRankBytes(matrices), HEADER_BYTES);
}

import { adapterRange, type ExpertAdapter, type HeldAdapter, type ItemAdapters, type WorkItem } from '@shoal/model';
import { adapterShardBytes, writeAdapterShard } from '@shoal/weights';
import { Held } from '../held.ts';

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
    const addresses = new Map<number, number>();
    let at = address;
    for (const index of this.#used) {
      addresses.set(index, at);
      const adapter = this.#adapters!.experts[index]!;
      if (adapter instanceof HeldShard) new Uint8Array(buffer, at, adapter.bytes).set(adapter.kept);
      else
        writeAdapterShard({ i32: new Int32Array(buffer), f32: new Float32Array(buffer) }, at, adapter as ExpertAdapter);
      at += bytesOf(adapter);
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

function bytesOf(adapter: ExpertAdapter | HeldAdapter): number {
  return adapter instanceof HeldShard ? adapter.bytes : adapterShardBytes(adapter as ExpertAdapter);
}

/** A low-rank shard that is copied for each lap that needs it: far less work than the lap itself, and memory stays flat. */
export class HeldShard extends Held<Uint8Array> {}

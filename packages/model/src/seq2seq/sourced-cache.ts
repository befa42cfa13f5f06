import { type KvCache } from '../kv-cache.ts';
import type { SequenceCache } from '../sequence-cache.ts';
import type { ReferenceSource } from './model.ts';

/** A sequence of the reference's encoder–decoder: the positions of its source, then those of its answer. */
export class SourcedCache implements SequenceCache {
  /** Present once the source is encoded. */
  source: ReferenceSource | undefined;
  /** The answer's own positions, which it counts from 0. */
  readonly target: KvCache;

  constructor(target: KvCache) {
    this.target = target;
  }

  get #first(): number {
    return this.source?.length ?? 0;
  }

  get length(): number {
    return this.#first + this.target.length;
  }

  get allocatedBytes(): number {
    return (this.source?.bytes ?? 0) + this.target.allocatedBytes;
  }

  /** Throws a RangeError where a part of the source would be left. */
  truncate(length: number): void {
    const first = this.#first;
    if (length > 0 && length < first) throw new RangeError(`a source of ${first} positions cannot be cut to ${length}`);
    this.target.truncate(Math.max(0, length - first));
    if (length === 0) this.#forget();
  }

  keep(length: number, slots: readonly number[]): void {
    const first = this.#first;
    this.target.keep(
      length - first,
      slots.map((slot) => slot - first),
    );
  }

  free(): void {
    this.target.free();
    this.#forget();
  }

  #forget(): void {
    this.source?.free();
    this.source = undefined;
  }
}

import type { HeldAdapter } from '@shoal/model';
import { adapterFreed } from './check-work-item.ts';

/** A low-rank shard in the form in which a backend keeps it. Each backend has a class of its own, by which it knows its shards. */
export abstract class Held<Kept extends object> implements HeldAdapter {
  readonly held = true;
  readonly bytes: number;
  readonly #onFree: (() => void) | undefined;
  #kept: Kept | undefined;

  constructor(kept: Kept, bytes: number, onFree?: () => void) {
    this.#kept = kept;
    this.bytes = bytes;
    this.#onFree = onFree;
  }

  /** Throws KernelError `not-loaded` once it is freed. */
  get kept(): Kept {
    if (!this.#kept) throw adapterFreed();
    return this.#kept;
  }

  free(): void {
    if (!this.#kept) return;
    this.#kept = undefined;
    this.#onFree?.();
  }
}

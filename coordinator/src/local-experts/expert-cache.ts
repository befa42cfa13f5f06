import type { WasmExpertBackend } from '@shoal/kernels/node';
import { type ExpertNorms, sliceRows, type WorkItem } from '@shoal/model';

export interface ExpertCacheOptions {
  backend: Pick<WasmExpertBackend, 'load' | 'unload' | 'run' | 'normsOf' | 'shape'>;
  /** Experts cached between items; one row's may come on top. */
  maxExperts: number;
  read: (layer: number, expert: number) => Promise<Uint8Array>;
}

/** An expert that was loaded, with its norms. */
export type LoadedExpert = [layer: number, expert: number, norms: ExpertNorms];

/** Experts that are loaded when first needed; the least recently used make room. Computes one item at a time. */
export class ExpertCache {
  readonly #options: ExpertCacheOptions;
  /** By `layer/expert`, the most recently used last. */
  readonly #cached = new Map<string, { layer: number; expert: number }>();
  #loaded: LoadedExpert[] = [];

  constructor(options: ExpertCacheOptions) {
    this.#options = options;
  }

  /** The experts loaded since the last call. */
  takeLoaded(): LoadedExpert[] {
    const loaded = this.#loaded;
    this.#loaded = [];
    return loaded;
  }

  /** [numRows, hiddenSize]; in halves where the item has more experts than may be cached. */
  async run(item: WorkItem): Promise<Float32Array> {
    const { backend, maxExperts } = this.#options;
    const experts = new Set(item.experts);
    if (experts.size <= maxExperts || item.numRows === 1) {
      for (const expert of experts) await this.#load(item.layer, expert, experts);
      return (await backend.run(item)).partial;
    }
    const half = item.numRows >> 1;
    const sums = new Float32Array(item.rows.length);
    sums.set(await this.run(sliceRows(item, 0, half)));
    sums.set(await this.run(sliceRows(item, half, item.numRows)), half * backend.shape.hiddenSize);
    return sums;
  }

  async #load(layer: number, expert: number, needed: ReadonlySet<number>): Promise<void> {
    const { backend, read, maxExperts } = this.#options;
    const key = `${layer}/${expert}`;
    const isCached = this.#cached.delete(key);
    if (!isCached) {
      const shard = await read(layer, expert);
      for (const [oldKey, old] of this.#cached) {
        if (this.#cached.size < maxExperts) break;
        if (old.layer === layer && needed.has(old.expert)) continue;
        backend.unload(old.layer, old.expert);
        this.#cached.delete(oldKey);
      }
      await backend.load(layer, expert, shard);
      this.#loaded.push([layer, expert, backend.normsOf(layer, expert)]);
    }
    this.#cached.set(key, { layer, expert });
  }
}

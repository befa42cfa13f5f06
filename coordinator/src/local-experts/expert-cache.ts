import type { WasmExpertBackend } from '@shoal/kernels/node';
import { rowRange, sliceRows, type WorkItem } from '@shoal/model';

export interface ExpertCacheOptions {
  backend: Pick<WasmExpertBackend, 'load' | 'unload' | 'run' | 'normProduct' | 'shape'>;
  /** Experts cached between items; one row's may come on top. */
  maxExperts: number;
  read: (layer: number, expert: number) => Promise<Uint8Array>;
}

/** Experts that are loaded when first needed; the least recently used make room. Computes one item at a time. */
export class ExpertCache {
  readonly #options: ExpertCacheOptions;
  /** By `layer/expert`, the most recently used last. */
  readonly #cached = new Map<string, { layer: number; expert: number }>();
  #normProducts: [number, number, number][] = [];

  constructor(options: ExpertCacheOptions) {
    this.#options = options;
  }

  /** Layer, expert and product of its matrices' norms, of each expert loaded since the last call. */
  takeNormProducts(): [number, number, number][] {
    const products = this.#normProducts;
    this.#normProducts = [];
    return products;
  }

  /** [numRows, hiddenSize]; in pieces of whole rows where the item has more experts than may be cached. */
  async run(item: WorkItem): Promise<Float32Array> {
    const { backend } = this.#options;
    const sums = new Float32Array(item.rows.length);
    for (const { firstRow, endRow, experts } of this.#pieces(item)) {
      for (const expert of experts) await this.#load(item.layer, expert, experts);
      const { partial } = await backend.run(sliceRows(item, firstRow, endRow));
      sums.set(partial, firstRow * backend.shape.hiddenSize);
    }
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
      this.#normProducts.push([layer, expert, backend.normProduct(layer, expert)]);
    }
    this.#cached.set(key, { layer, expert });
  }

  #pieces(item: WorkItem): { firstRow: number; endRow: number; experts: Set<number> }[] {
    const { numRows } = item;
    let piece = { firstRow: 0, endRow: numRows, experts: new Set<number>() };
    const pieces = [piece];
    for (let row = 0; row < numRows; row++) {
      const ofRow = item.experts.subarray(...rowRange(item, row));
      const union = new Set([...piece.experts, ...ofRow]);
      if (union.size > this.#options.maxExperts && row > piece.firstRow) {
        piece.endRow = row;
        pieces.push((piece = { firstRow: row, endRow: numRows, experts: new Set(ofRow) }));
      } else {
        piece.experts = union;
      }
    }
    return pieces;
  }
}

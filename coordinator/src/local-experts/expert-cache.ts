import type { WasmExpertBackend } from '@shoal/kernels/node';
import { type WorkItem, sliceRows, rowRange } from '@shoal/model';

export interface ExpertCacheOptions {
  backend: Pick<WasmExpertBackend, 'load' | 'unload' | 'run' | 'normProduct' | 'shape'>;
  /** Experts cached between requests; one row's may come on top. */
  maxExperts: number;
  read: (layer: number, expert: number) => Promise<Uint8Array>;
}

/** Experts that are loaded when first needed and cached, least recently used out first. One request at a time. */
export class ExpertCache {
  readonly #options: ExpertCacheOptions;
  /** Keys in order of use, the most recent last. */
  readonly #held = new Map<string, { layer: number; expert: number }>();
  #normProducts: [number, number, number][] = [];

  constructor(options: ExpertCacheOptions) {
    this.#options = options;
  }

  /** Experts held at this moment. */
  get count(): number {
    return this.#held.size;
  }

  /** Norms of what was loaded since they were last taken: layer, expert, product. */
  takeNormProducts(): [number, number, number][] {
    const products = this.#normProducts;
    this.#normProducts = [];
    return products;
  }

  /** [numRows, hiddenSize]; in pieces of whole rows where all of a request's experts together are more than may be cached. */
  async run(request: WorkItem): Promise<Float32Array> {
    const { backend } = this.#options;
    const D = backend.shape.hiddenSize;
    const pieces = this.#pieces(request);
    if (pieces.length === 1) return this.#runPiece(request, pieces[0]!.experts);
    const partial = new Float32Array(request.numRows * D);
    for (const { from, to, experts } of pieces) {
      partial.set(await this.#runPiece(sliceRows(request, from, to), experts), from * D);
    }
    return partial;
  }

  async #runPiece(request: WorkItem, experts: ReadonlySet<number>): Promise<Float32Array> {
    for (const expert of experts) await this.#hold(request.layer, expert, experts);
    return (await this.#options.backend.run(request)).partial;
  }

  async #hold(layer: number, expert: number, needed: ReadonlySet<number>): Promise<void> {
    const { backend, read, maxExperts } = this.#options;
    const key = `${layer}/${expert}`;
    const known = this.#held.delete(key);
    if (!known) {
      const shard = await read(layer, expert);
      for (const [oldKey, old] of this.#held) {
        if (this.#held.size < maxExperts) break;
        if (old.layer === layer && needed.has(old.expert)) continue;
        backend.unload(old.layer, old.expert);
        this.#held.delete(oldKey);
      }
      await backend.load(layer, expert, shard);
      this.#normProducts.push([layer, expert, backend.normProduct(layer, expert)]);
    }
    this.#held.set(key, { layer, expert });
  }

  #pieces(item: WorkItem): { from: number; to: number; experts: Set<number> }[] {
    const { numRows, experts } = item;
    const pieces = [{ from: 0, to: numRows, experts: new Set<number>() }];
    for (let row = 0; row < numRows; row++) {
      const mine = experts.subarray(...rowRange(item, row));
      const piece = pieces.at(-1)!;
      const union = new Set([...piece.experts, ...mine]);
      if (union.size > this.#options.maxExperts && row > piece.from) {
        piece.to = row;
        pieces.push({ from: row, to: numRows, experts: new Set(mine) });
      } else {
        piece.experts = union;
      }
    }
    return pieces;
  }
}

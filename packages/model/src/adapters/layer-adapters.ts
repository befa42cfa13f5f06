import { linear } from '../math.ts';
import type { Adapter, AdapterTarget, LowRank } from './adapter.ts';

/** A row's adapter, and of a mixture what it is multiplied by. */
export interface AdaptedRow {
  adapter: Adapter;
  scalings?: Float32Array | undefined;
}

/** What the adapters of a pass's rows add in one layer. */
export class LayerAdapters {
  readonly #rows: readonly (AdaptedRow | undefined)[];
  readonly #layer: number;

  constructor(rows: readonly (AdaptedRow | undefined)[], layer: number) {
    this.#rows = rows;
    this.#layer = layer;
  }

  /** What is added to a row's product with a matrix; undefined if nothing is. */
  of(row: number, target: AdapterTarget): LowRank | undefined {
    return this.#rows[row]?.adapter.layers[this.#layer]?.[target];
  }

  /** y += B (s ⊙ A x) for each row with an adapter of this matrix; x [numRows, inDim], y [numRows, outDim]. Returns y. */
  add(target: AdapterTarget, x: Float32Array, y: Float32Array): Float32Array {
    for (const row of this.#rows.keys()) {
      const pair = this.of(row, target);
      if (!pair) continue;
      const { rank, inDim, outDim, a, b } = pair;
      const inner = linear(x.subarray(row * inDim, (row + 1) * inDim), a, 1, inDim, rank);
      const own = this.#rows[row]!.scalings;
      pair.scalings?.forEach((index, k) => (inner[k] = inner[k]! * own![index]!));
      const delta = linear(inner, b, 1, rank, outDim);
      const at = row * outDim;
      for (let i = 0; i < outDim; i++) y[at + i] = y[at + i]! + delta[i]!;
    }
    return y;
  }
}

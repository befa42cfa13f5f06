import { type ExpertLimit, readRow, rowRange, type WorkItem } from '@shoal/model';

/** Allows for rounding of the norms and of the answer. */
const SLACK = 1.01;

/**
 * An upper bound of an answer's norm, from those of its experts' outputs (`expertLimit`). It is proven, so no honest tab can exceed
 * it, and loose: it rejects absurd answers before they are used, but finds no small lies.
 */
export class NormLimits {
  readonly #limits = new Map<string, ExpertLimit>();

  /** Called for every expert that the coordinator loads. Every expert that serves was loaded for its known-answer test. */
  learn(layer: number, expert: number, limit: ExpertLimit): void {
    const key = `${layer}/${expert}`;
    if (!this.#limits.has(key)) this.#limits.set(key, limit);
  }

  /** The first row of an answer ([numRows, hiddenSize]) beyond its limit; undefined if there is none. */
  absurdRow(item: WorkItem, partial: Float32Array): number | undefined {
    const D = item.rows.length / item.numRows;
    const x = new Float32Array(D);
    for (let row = 0; row < item.numRows; row++) {
      readRow(item, row, x);
      const limit = this.#limit(item, row, squaredNorm(x));
      const norm = Math.sqrt(squaredNorm(partial.subarray(row * D, (row + 1) * D)));
      if (norm > limit * SLACK + Math.sqrt(D) * 2 ** -24) return row;
    }
    return undefined;
  }

  #limit(item: WorkItem, row: number, squaredX: number): number {
    const [from, to] = rowRange(item, row);
    let limit = 0;
    for (let a = from; a < to; a++) {
      const known = this.#limits.get(`${item.layer}/${item.experts[a]!}`);
      const most = known ? known.square * squaredX + known.linear * Math.sqrt(squaredX) + known.constant : Infinity;
      limit += Math.abs(item.weights[a]!) * most;
    }
    return limit;
  }
}

function squaredNorm(values: Float32Array): number {
  let sum = 0;
  for (let i = 0; i < values.length; i++) sum += values[i]! ** 2;
  return sum;
}

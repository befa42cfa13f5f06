import { readRow, rowRange, type SwigluWeights, type WorkItem } from '@shoal/model';

/** Allows for rounding of the norms and of the answer. */
const SLACK = 1.01;

/**
 * An upper bound of an answer's norm: ‖W_down (silu(g) ⊙ u)‖ ≤ ‖W_down‖ ‖g‖ ‖u‖ ≤ ‖W_down‖ ‖W_gate‖ ‖W_up‖ ‖x‖² with
 * Frobenius norms, since |silu(g)| ≤ |g| and ‖g ⊙ u‖ ≤ ‖g‖ ‖u‖. It is proven, so no honest tab can exceed it, and loose: it
 * rejects absurd answers before they are used, but finds no small lies.
 */
export class NormLimits {
  readonly #gains = new Map<string, number>();

  /** Called for every expert that the coordinator loads. Every expert that serves was loaded for its known-answer test. */
  learn(layer: number, expert: number, { gate, up, down }: SwigluWeights): void {
    this.learnProduct(layer, expert, frobenius(gate) * frobenius(up) * frobenius(down));
  }

  /** Like `learn`, with the product of the three norms. */
  learnProduct(layer: number, expert: number, product: number): void {
    const key = `${layer}/${expert}`;
    if (!this.#gains.has(key)) this.#gains.set(key, product);
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
    let gain = 0;
    for (let a = from; a < to; a++) {
      const norms = this.#gains.get(`${item.layer}/${item.experts[a]!}`) ?? Number.POSITIVE_INFINITY;
      gain += Math.abs(item.weights[a]!) * norms;
    }
    // 0 × ∞ is NaN, and every comparison with NaN is false.
    return squaredX === 0 ? 0 : gain * squaredX;
  }
}

function frobenius(matrix: Float32Array): number {
  let sum = 0;
  for (let i = 0; i < matrix.length; i++) sum += matrix[i]! * matrix[i]!;
  return Math.sqrt(sum);
}

function squaredNorm(values: Float32Array): number {
  let sum = 0;
  for (let i = 0; i < values.length; i++) sum += values[i]! ** 2;
  return sum;
}

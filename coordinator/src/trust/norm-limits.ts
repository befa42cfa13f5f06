import { f16ToF32, rowRange, type SwigluWeights, type WorkItem } from '@shoal/model';

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

  /** The first row of an answer (f16 bits, [numRows, hiddenSize]) beyond its limit; undefined if there is none. */
  absurdRow(item: WorkItem, partial: Uint16Array): number | undefined {
    const D = item.rows.length / item.numRows;
    for (let row = 0; row < item.numRows; row++) {
      const limit = this.#limit(item, row, squaredNorm(item.rows, row * D, D));
      if (Math.sqrt(squaredNorm(partial, row * D, D)) > limit * SLACK + Math.sqrt(D) * 2 ** -24) return row;
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

function squaredNorm(halves: Uint16Array, first: number, count: number): number {
  let sum = 0;
  for (let i = first; i < first + count; i++) sum += f16ToF32(halves[i]!) ** 2;
  return sum;
}

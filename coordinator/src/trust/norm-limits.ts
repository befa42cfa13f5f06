import { f16ToF32, type SwigluWeights, type WorkItem, rowRange } from '@shoal/model';

/** For the rounding of the norms themselves and of the answer. */
const SLACK = 1.01;

/**
 * The largest norm that an answer can have, whatever the row: ‖W_down (silu(g) ⊙ u)‖ ≤ ‖W_down‖ ‖g‖ ‖u‖ ≤
 * ‖W_down‖ ‖W_gate‖ ‖W_up‖ ‖x‖² with Frobenius norms, since |silu(g)| ≤ |g| and ‖g ⊙ u‖ ≤ ‖g‖ ‖u‖. It is a theorem, so no
 * honest tab can exceed it, and loose: it is there to refuse the absurd before it is used, not to find small lies.
 */
export class NormLimits {
  readonly #gains = new Map<string, number>();

  /** Called with every expert that the coordinator has loaded: all that serve are among them, since it has tested them. */
  learn(layer: number, expert: number, { gate, up, down }: SwigluWeights): void {
    this.learnProduct(layer, expert, frobenius(gate) * frobenius(up) * frobenius(down));
  }

  /** As learn, from the product of the three norms. */
  learnProduct(layer: number, expert: number, product: number): void {
    const key = `${layer}/${expert}`;
    if (!this.#gains.has(key)) this.#gains.set(key, product);
  }

  /** The first row of the answer (f16 bits, [numRows, hiddenSize]) that no honest computation can give; undefined if there is none. */
  absurdRow(request: WorkItem, partial: Uint16Array): number | undefined {
    const D = request.rows.length / request.numRows;
    for (let row = 0; row < request.numRows; row++) {
      const limit = this.#limit(request, row, squaredNorm(request.rows, row * D, D));
      if (Math.sqrt(squaredNorm(partial, row * D, D)) > limit * SLACK + Math.sqrt(D) * 2 ** -24) return row;
    }
    return undefined;
  }

  #limit(item: WorkItem, row: number, squaredX: number): number {
    const [from, to] = rowRange(item, row);
    let gain = 0;
    for (let a = from; a < to; a++) {
      gain +=
        Math.abs(item.weights[a]!) * (this.#gains.get(`${item.layer}/${item.experts[a]!}`) ?? Number.POSITIVE_INFINITY);
    }
    // 0 × ∞ would be NaN, which nothing exceeds.
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

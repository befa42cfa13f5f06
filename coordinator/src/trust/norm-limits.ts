import {
  adapterRange,
  type ExpertActivation,
  type ExpertAdapter,
  type ExpertLimit,
  expertLimit,
  type ExpertNorms,
  type LowRank,
  readRow,
  rowRange,
  type WorkItem,
} from '@shoal/model';

/** Allows for rounding of the norms and of the answer. */
const SLACK = 1.01;

interface Known {
  activation: ExpertActivation;
  norms: ExpertNorms;
  /** Without adapters. */
  limit: ExpertLimit;
}

/**
 * An upper bound of an answer's norm, from those of its experts' outputs (`expertLimit`). It is proven, so no honest tab can exceed
 * it, and loose: it rejects absurd answers before they are used, but finds no small lies.
 */
export class NormLimits {
  readonly #experts = new Map<string, Known>();
  /** ‖B‖ ‖A‖ of what adapters add. */
  readonly #added = new WeakMap<LowRank, number>();

  /** Called for every expert that the coordinator loads. Every expert that serves was loaded for its known-answer test. */
  learn(layer: number, expert: number, activation: ExpertActivation = 'swiglu', norms: ExpertNorms): void {
    const key = `${layer}/${expert}`;
    if (!this.#experts.has(key)) this.#experts.set(key, { activation, norms, limit: expertLimit(activation, norms) });
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
      const known = this.#ofAssignment(item, a);
      const most = known ? known.square * squaredX + known.linear * Math.sqrt(squaredX) + known.constant : Infinity;
      limit += Math.abs(item.weights[a]!) * most;
    }
    return limit;
  }

  #ofAssignment({ layer, experts, adapters }: WorkItem, assignment: number): ExpertLimit | undefined {
    const known = this.#experts.get(`${layer}/${experts[assignment]!}`);
    if (!known || !adapters) return known?.limit;
    const [from, to] = adapterRange(adapters, assignment);
    if (from === to) return known.limit;
    // ‖W + Σ s B A‖ ≤ ‖W‖ + Σ |s| ‖B‖ ‖A‖
    const norms = { ...known.norms };
    for (let i = from; i < to; i++) {
      // Items in the coordinator have no others.
      const adapter = adapters.experts[adapters.of[i]!] as ExpertAdapter;
      for (const [m, part] of (['gate', 'up', 'down'] as const).entries())
        norms[part] += Math.abs(adapters.scales[3 * i + m]!) * this.#normOf(adapter[part]);
    }
    return expertLimit(known.activation, norms);
  }

  #normOf(matrices: LowRank | undefined): number {
    if (!matrices) return 0;
    let norm = this.#added.get(matrices);
    if (norm === undefined)
      this.#added.set(matrices, (norm = Math.sqrt(squaredNorm(matrices.a) * squaredNorm(matrices.b))));
    return norm;
  }
}

function squaredNorm(values: Float32Array): number {
  let sum = 0;
  for (let i = 0; i < values.length; i++) sum += values[i]! ** 2;
  return sum;
}

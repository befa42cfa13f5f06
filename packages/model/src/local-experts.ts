import { type ExpertDispatch, type MoeCall, NO_EXPERT } from './dispatch.ts';
import { type ExpertWeights, runExpert } from './expert.ts';
import type { ModelConfig } from './model-config.ts';

export interface LocalExpertsOptions {
  /** Bound on the float32 weights kept between calls; the experts of one call in progress come on top. */
  maxBytes: number;
}

/**
 * Computes routed experts in this process. Weights are loaded when first needed and kept in an LRU cache.
 * A row's result doesn't depend on the other rows: its experts are summed in ascending order of their index.
 */
export class LocalExperts implements ExpertDispatch {
  readonly #config: Pick<ModelConfig, 'hiddenSize' | 'expert'>;
  readonly #load: (layer: number, expert: number) => Promise<ExpertWeights>;
  readonly #maxBytes: number;
  /** In order of use, the most recent last. */
  readonly #kept = new Map<string, ExpertWeights>();
  readonly #loading = new Map<string, Promise<ExpertWeights>>();
  #keptBytes = 0;

  constructor(
    config: Pick<ModelConfig, 'hiddenSize' | 'expert'>,
    load: (layer: number, expert: number) => Promise<ExpertWeights>,
    { maxBytes }: LocalExpertsOptions,
  ) {
    this.#config = config;
    this.#load = load;
    this.#maxBytes = maxBytes;
  }

  get keptBytes(): number {
    return this.#keptBytes;
  }

  /** Starts nothing before `combine()`, since no other processor could work meanwhile. */
  dispatch(call: MoeCall): { combine(): Promise<Float32Array> } {
    return { combine: () => this.run(call) };
  }

  /** Σ over each row's experts of weight × expert(x), [numRows, hiddenSize]. */
  async run(call: MoeCall): Promise<Float32Array> {
    const { hiddenSize, expert: kind } = this.#config;
    const perRow = call.topkIdx.length / call.numRows;
    const out = new Float32Array(call.numRows * hiddenSize);
    for (const [expert, slots] of slotsByExpert(call.topkIdx)) {
      const weights = await this.#get(call.layer, expert);
      const x = new Float32Array(slots.length * hiddenSize);
      const rows = slots.map((slot) => Math.floor(slot / perRow));
      for (const [i, row] of rows.entries())
        x.set(call.x.subarray(row * hiddenSize, (row + 1) * hiddenSize), i * hiddenSize);
      const y = runExpert(kind.activation, x, weights, slots.length, hiddenSize);
      for (const [i, row] of rows.entries()) {
        const weight = call.topkWeights[slots[i]!]!;
        for (let d = 0; d < hiddenSize; d++)
          out[row * hiddenSize + d] = out[row * hiddenSize + d]! + weight * y[i * hiddenSize + d]!;
      }
    }
    return out;
  }

  async #get(layer: number, expert: number): Promise<ExpertWeights> {
    const key = `${layer}/${expert}`;
    const kept = this.#kept.get(key);
    if (kept) {
      this.#kept.delete(key);
      this.#kept.set(key, kept);
      return kept;
    }
    const loading = this.#loading.get(key);
    if (loading) return loading;
    const load = this.#load(layer, expert);
    this.#loading.set(key, load);
    try {
      const weights = await load;
      this.#keep(key, weights);
      return weights;
    } finally {
      this.#loading.delete(key);
    }
  }

  #keep(key: string, weights: ExpertWeights): void {
    this.#kept.set(key, weights);
    this.#keptBytes += bytesOf(weights);
    for (const [oldest, old] of this.#kept) {
      if (this.#keptBytes <= this.#maxBytes) return;
      this.#kept.delete(oldest);
      this.#keptBytes -= bytesOf(old);
    }
  }
}

function bytesOf({ gate, up, down, biases }: ExpertWeights): number {
  const parts = [gate, up, down, biases?.gate, biases?.up, biases?.down];
  return parts.reduce((sum, part) => sum + (part?.byteLength ?? 0), 0);
}

/** The experts in ascending order, each with the indices in topkIdx where it stands. */
function slotsByExpert(topkIdx: Int32Array): [number, number[]][] {
  const slots = new Map<number, number[]>();
  for (const [slot, expert] of topkIdx.entries()) {
    if (expert === NO_EXPERT) continue;
    const list = slots.get(expert);
    if (list) list.push(slot);
    else slots.set(expert, [slot]);
  }
  return [...slots].sort(([a], [b]) => a - b);
}

import {
  activate,
  createRng,
  type ExpertActivation,
  type ExpertWeights,
  f32ToF16,
  isGated,
  normalDraw,
  readRow,
  rowRange,
  type WorkItem,
  workItemOfRows,
} from '@shoal/model';
import { packExpert, unpackExpert, type ExpertShape } from '@shoal/weights';
import type { ExpertBackend } from '../backend.ts';
import { nmse } from './numbers.ts';

/** Of a backend's sums against float64 on the same rounded weights: f32 accumulation stays far below it in every format. */
export const MAX_NMSE = 1e-6;

/** Makes experts and laps from a fixed seed, and computes their results in float64. */
export class ConformanceBench {
  readonly #shape: ExpertShape;
  readonly #backend: ExpertBackend;
  readonly #random = createRng(0x5110a1);
  readonly #experts = new Map<string, { original: ExpertWeights; rounded: ExpertWeights; shard: Uint8Array }>();

  constructor(shape: ExpertShape, backend: ExpertBackend) {
    this.#shape = shape;
    this.#backend = backend;
  }

  async loadAll(layer: number, experts: readonly number[]): Promise<void> {
    for (const expert of experts) await this.load(layer, expert);
  }

  /** Loads an expert, with other weights than the last time. */
  load(layer: number, expert: number): Promise<void> {
    const { hiddenSize: D, moeIntermediateSize: F } = this.#shape;
    const { activation = 'swiglu', bias = false } = this.#shape;
    // Of the other kinds some rows' values must pass the limits at which they are clamped.
    const spread = (activation === 'swiglu' ? 1 : 4) / Math.sqrt(D);
    const gated = isGated(activation);
    const original = {
      gate: gated ? this.#normal(F * D, spread) : null,
      up: this.#normal(F * D, spread),
      down: this.#normal(D * F, 1 / Math.sqrt(F)),
      biases: bias
        ? { gate: gated ? this.#normal(F, 1) : null, up: this.#normal(F, 1), down: this.#normal(D, 1) }
        : null,
    };
    return this.loadShard(layer, expert, packExpert(this.#shape, original), original);
  }

  /** Loads an expert that was packed otherwise. */
  loadShard(layer: number, expert: number, shard: Uint8Array, original?: ExpertWeights): Promise<void> {
    const rounded = unpackExpert(this.#shape, shard);
    this.#experts.set(`${layer}/${expert}`, { original: original ?? rounded, rounded, shard });
    return this.#backend.load(layer, expert, shard);
  }

  /** As the backend has them. */
  weights(layer: number, expert: number): ExpertWeights {
    return this.#experts.get(`${layer}/${expert}`)!.rounded;
  }

  shard(layer: number, expert: number): Uint8Array {
    return this.#experts.get(`${layer}/${expert}`)!.shard;
  }

  /** Rows with none, one, several and repeated experts. */
  lap(layer: number, numRows: number, experts: readonly number[]): WorkItem {
    const pick = (): number => experts[Math.floor(this.#random() * experts.length)]!;
    const assignments = Array.from({ length: numRows }, (_, row) => {
      if (row % 7 === 6) return [];
      const chosen = Array.from({ length: 1 + (row % 4) }, pick);
      return row % 5 === 4 ? [...chosen, chosen[0]!] : chosen;
    });
    return this.lapOf(layer, assignments);
  }

  /** Rows of normally distributed values. */
  lapOf(layer: number, assignments: readonly (readonly number[])[], deviation = 1): WorkItem {
    const D = this.#shape.hiddenSize;
    const someRow = (): Uint16Array => Uint16Array.from(this.#normal(D, deviation), f32ToF16);
    // Rows without an expert share their values, which must not matter: drawing 70,000 rows takes seconds.
    const unused = someRow();
    const rows = assignments.map((experts) => (experts.length > 0 ? someRow() : unused));
    return workItemOfRows(
      layer,
      assignments.map((experts, i) => ({ row: rows[i]!, experts, weights: this.#normal(experts.length, 1) })),
    );
  }

  /** Leaves NaN in every buffer that the backend may use again, so that a value it fails to write shows. */
  async poison(layer: number, experts: readonly number[], numRows: number): Promise<void> {
    const lap = this.lap(layer, numRows, experts);
    lap.rows.fill(0x7e00);
    const { partial } = await this.#backend.run(lap);
    require(Number.isNaN(partial[0]), 'a row of NaN gave a number');
  }

  /** float64. [numRows, hiddenSize] */
  reference(lap: WorkItem, which: 'rounded' | 'original' = 'rounded'): Float64Array {
    const D = this.#shape.hiddenSize;
    const y = new Float64Array(lap.numRows * D);
    for (let row = 0; row < lap.numRows; row++) {
      const values = new Float32Array(D);
      readRow(lap, row, values);
      const x = Float64Array.from(values);
      const [from, to] = rowRange(lap, row);
      for (let a = from; a < to; a++) {
        const expert = this.#experts.get(`${lap.layer}/${lap.experts[a]!}`)![which];
        addExpert64(expert, this.#shape.activation ?? 'swiglu', x, lap.weights[a]!, y.subarray(row * D, (row + 1) * D));
      }
    }
    return y;
  }

  compare(lap: WorkItem, partial: Float32Array): number {
    return this.compareWith(this.reference(lap), partial);
  }

  compareWith(reference: Float64Array, partial: Float32Array): number {
    require(partial.length === reference.length, `partial has ${partial.length} values, not ${reference.length}`);
    const error = nmse(partial, reference);
    require(error <= MAX_NMSE, `NMSE ${error.toExponential(2)} exceeds ${MAX_NMSE}`);
    for (const [i, value] of reference.entries()) {
      if (value === 0) require(partial[i] === 0, `value ${i} of a row without experts is ${partial[i]}`);
    }
    return error;
  }

  #normal(length: number, sigma: number): Float32Array {
    return Float32Array.from({ length }, () => sigma * normalDraw(this.#random));
  }
}

/** An expert's weights in any precision. */
interface Matrices extends Pick<ExpertWeights, 'biases'> {
  gate: ArrayLike<number> | null;
  up: ArrayLike<number>;
  down: ArrayLike<number>;
}

/** Adds an expert’s weighted output for the row x to y. */
export function addExpert64(
  { gate, up, down, biases }: Matrices,
  activation: ExpertActivation,
  x: Float64Array,
  weight: number,
  y: Float64Array,
): void {
  const D = x.length;
  const F = up.length / D;
  const activations = new Float64Array(F);
  for (let f = 0; f < F; f++) {
    let g = biases?.gate?.[f] ?? 0;
    let u = biases?.up[f] ?? 0;
    for (let d = 0; d < D; d++) {
      if (gate) g += gate[f * D + d]! * x[d]!;
      u += up[f * D + d]! * x[d]!;
    }
    activations[f] = activate(activation, g, u);
  }
  for (let d = 0; d < D; d++) {
    let sum = biases?.down[d] ?? 0;
    for (let f = 0; f < F; f++) sum += down[d * F + f]! * activations[f]!;
    y[d]! += weight * sum;
  }
}

export function require(condition: boolean, message: string): void {
  if (!condition) throw new Error(message);
}

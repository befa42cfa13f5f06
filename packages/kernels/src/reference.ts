import {
  activate,
  adapterRange,
  type ExpertActivation,
  type ExpertAdapter,
  type ExpertWeights,
  type HeldAdapter,
  type ItemAdapters,
  readRow,
  rowRange,
  type WorkItem,
} from '@shoal/model';
import { shardBytes, shardLayout, unpackExpert, type ExpertShape } from '@shoal/weights';
import type { ExpertBackend, ExpertOutput } from './backend.ts';
import { checkShard, checkWorkItem, readAdapterShard } from './check-work-item.ts';
import { Held } from './held.ts';

/**
 * The expert FFN in plain TypeScript, on unpacked weights (4 bytes each in memory): the reference that other backends must match.
 * `run` computes before it returns its promise.
 */
export function createReferenceBackend(shape: ExpertShape, unpack = unpackExpert): ExpertBackend {
  return new ReferenceBackend(shape, unpack);
}

class ReferenceBackend implements ExpertBackend {
  readonly name = 'reference';
  readonly shape: ExpertShape;
  readonly maxExpertsPerLayer = Number.POSITIVE_INFINITY;
  readonly lost = new Promise<string>(() => {});
  readonly #unpack: typeof unpackExpert;
  readonly #layers = new Map<number, Map<number, ExpertWeights>>();
  #count = 0;

  constructor(shape: ExpertShape, unpack: typeof unpackExpert) {
    shardBytes(shape); // throws for impossible dimensions
    this.shape = shape;
    this.#unpack = unpack;
  }

  get allocatedBytes(): number {
    const { matrices, biases } = shardLayout(this.shape);
    const values = [...matrices.map(({ rows, cols }) => rows * cols), ...biases.map(({ rows }) => rows)];
    return this.#count * Float32Array.BYTES_PER_ELEMENT * values.reduce((sum, count) => sum + count, 0);
  }

  async reserve(): Promise<void> {}

  async load(layer: number, expert: number, shard: Uint8Array): Promise<void> {
    checkShard(this.shape, layer, expert, shard);
    const weights = this.#unpack(this.shape, shard);
    const experts = this.#layers.get(layer) ?? new Map<number, ExpertWeights>();
    this.#layers.set(layer, experts);
    if (!experts.has(expert)) this.#count++;
    experts.set(expert, weights);
  }

  unload(layer: number, expert: number): void {
    const experts = this.#layers.get(layer);
    if (!experts?.delete(expert)) return;
    this.#count--;
    if (experts.size === 0) this.#layers.delete(layer);
  }

  has(layer: number, expert: number): boolean {
    return this.#layers.get(layer)?.has(expert) ?? false;
  }

  async openAdapter(shard: Uint8Array): Promise<HeldAdapter> {
    return new HeldPairs(readAdapterShard(this.shape, shard), shard.byteLength);
  }

  async run(lap: WorkItem): Promise<ExpertOutput> {
    checkWorkItem(lap, this.shape, (layer, expert) => this.has(layer, expert));
    const startedMs = performance.now();
    const { hiddenSize: D, activation = 'swiglu' } = this.shape;
    const partial = new Float32Array(lap.numRows * D);
    const experts = this.#layers.get(lap.layer);
    const x = new Float32Array(D);
    for (let row = 0; row < lap.numRows; row++) {
      readRow(lap, row, x);
      const y = partial.subarray(row * D, (row + 1) * D);
      const [from, to] = rowRange(lap, row);
      for (let a = from; a < to; a++) {
        const added = (part: Part, to: Float32Array): Float32Array | undefined => addedTo(lap.adapters, a, part, to);
        addExpert(experts!.get(lap.experts[a]!)!, { activation, added, weight: lap.weights[a]! }, x, y);
      }
    }
    return { partial, computeUs: (performance.now() - startedMs) * 1000 };
  }

  destroy(): void {
    this.#layers.clear();
    this.#count = 0;
  }
}

class HeldPairs extends Held<ExpertAdapter> {}

const PARTS = ['gate', 'up', 'down'] as const;
type Part = (typeof PARTS)[number];

/** How an expert is applied. */
interface Application {
  activation: ExpertActivation;
  /** What adapters add to the product of a matrix with x; undefined for nothing. */
  added: (part: Part, x: Float32Array) => Float32Array | undefined;
  weight: number;
}

/** y += weight · expert(x). x, y: [hiddenSize] */
function addExpert(
  { gate, up, down, biases }: ExpertWeights,
  { activation, added, weight }: Application,
  x: Float32Array,
  y: Float32Array,
): void {
  const D = x.length;
  const F = up.length / D;
  const activations = new Float32Array(F);
  const [toGate, toUp] = [added('gate', x), added('up', x)];
  for (let f = 0; f < F; f++) {
    const g = gate ? dot(gate, f * D, x) + (toGate?.[f] ?? 0) + (biases?.gate?.[f] ?? 0) : 0;
    activations[f] = activate(activation, g, dot(up, f * D, x) + (toUp?.[f] ?? 0) + (biases?.up[f] ?? 0));
  }
  const toDown = added('down', activations);
  for (let d = 0; d < D; d++) {
    y[d] = y[d]! + weight * (dot(down, d * F, activations) + (toDown?.[d] ?? 0) + (biases?.down[d] ?? 0));
  }
}

/** Σ scale · B (A x) of an assignment, [outDim]; undefined where nothing is added. */
function addedTo(
  adapters: ItemAdapters | undefined,
  assignment: number,
  part: Part,
  x: Float32Array,
): Float32Array | undefined {
  if (!adapters) return undefined;
  const { of, scales, experts } = adapters;
  const [from, to] = adapterRange(adapters, assignment);
  let sum: Float32Array | undefined;
  for (let i = from; i < to; i++) {
    const adapter = experts[of[i]!]!;
    const pair = (adapter instanceof HeldPairs ? adapter.kept : (adapter as ExpertAdapter))[part];
    if (!pair) continue;
    const { rank, inDim, outDim, a, b } = pair;
    const scale = scales[3 * i + PARTS.indexOf(part)]!;
    const inner = Float32Array.from({ length: rank }, (_, k) => scale * dot(a, k * inDim, x));
    sum ??= new Float32Array(outDim);
    for (let o = 0; o < outDim; o++) sum[o] = sum[o]! + dot(b, o * rank, inner);
  }
  return sum;
}

/** Σ matrix[first + i] · vector[i], in four independent sums that a CPU adds in parallel. */
function dot(matrix: Float32Array, first: number, vector: Float32Array): number {
  let a = 0;
  let b = 0;
  let c = 0;
  let d = 0;
  const n = vector.length;
  const whole = n - (n % 4);
  for (let i = 0; i < whole; i += 4) {
    a += matrix[first + i]! * vector[i]!;
    b += matrix[first + i + 1]! * vector[i + 1]!;
    c += matrix[first + i + 2]! * vector[i + 2]!;
    d += matrix[first + i + 3]! * vector[i + 3]!;
  }
  for (let i = whole; i < n; i++) a += matrix[first + i]! * vector[i]!;
  return a + b + (c + d);
}

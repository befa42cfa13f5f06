import { f32ToF16, f16ToF32, rowRange, sliceRows, type WorkItem, workItemOfRows } from '@shoal/model';
import { packExpert, QUANTS, shardBytes, unpackExpert, type ExpertShape, type ExpertWeights } from '@shoal/weights';
import { KernelError, type ExpertBackend, type KernelErrorReason } from './backend.ts';

/**
 * What every ExpertBackend must do, as cases that need no test framework: a Node test runs them one by one, a browser page
 * all together. Results are held against a float64 reference on the same rounded weights.
 */

/** Normalised mean squared error: Σ (y − reference)² / Σ reference². f32 accumulation stays far below it in both formats. */
export const MAX_NMSE: Readonly<Record<ExpertShape['quant'], number>> = { f16: 1e-6, q8: 1e-6, q4: 1e-6 };
/** Of an expert's output with quantised weights against the unquantised ones, for normally distributed weights. */
export const MAX_QUANTISATION_NMSE: Readonly<Record<ExpertShape['quant'], number>> = { f16: 1e-6, q8: 1e-4, q4: 3e-2 };

export type BackendFactory = (shape: ExpertShape) => Promise<ExpertBackend>;

export interface ConformanceCase {
  name: string;
  /** Rejects with what is wrong; resolves with what was measured. */
  run(factory: BackendFactory): Promise<string>;
}

export interface ConformanceResult {
  name: string;
  ok: boolean;
  detail: string;
}

export async function runConformance(factory: BackendFactory): Promise<ConformanceResult[]> {
  const results: ConformanceResult[] = [];
  for (const { name, run } of conformanceCases()) {
    try {
      results.push({ name, ok: true, detail: await run(factory) });
    } catch (error) {
      results.push({ name, ok: false, detail: error instanceof Error ? error.message : String(error) });
    }
  }
  return results;
}

/** hiddenSize × moeIntermediateSize: the default model's, and sizes that end inside blocks of 8, 32 and 64. */
const SIZES: readonly (readonly [number, number])[] = [
  [192, 64],
  [33, 17],
  [100, 70],
  [7, 130],
  [257, 96],
];

export function conformanceCases(quants: readonly ExpertShape['quant'][] = QUANTS): ConformanceCase[] {
  return quants.flatMap((quant) => {
    const tiny: ExpertShape = { hiddenSize: 40, moeIntermediateSize: 24, quant };
    return [
      ...SIZES.map(([hiddenSize, moeIntermediateSize]) => {
        const shape = { hiddenSize, moeIntermediateSize, quant };
        return testCase(`${quant} ${hiddenSize}x${moeIntermediateSize}: 0, 1, 5 and 300 rows`, shape, checkAccuracy);
      }),
      testCase(
        `${quant}: more rows than one dispatch dimension`,
        { ...tiny, hiddenSize: 8, moeIntermediateSize: 8 },
        checkManyRows,
      ),
      testCase(`${quant}: a row's result does not depend on the other rows`, tiny, checkIndependence),
      testCase(`${quant}: laps in flight together equal laps alone`, tiny, checkConcurrent),
      testCase(`${quant}: experts of several layers, loaded without a reservation`, tiny, checkGrowth),
      testCase(`${quant}: unloading and loading anew while laps are in flight`, tiny, checkReload),
      testCase(`${quant}: memory is counted and given back`, tiny, checkMemory),
      testCase(`${quant}: what contradicts itself is refused whole`, tiny, checkRefusals),
      testCase(
        `${quant}: quantisation error against the original weights`,
        { ...tiny, hiddenSize: 256, moeIntermediateSize: 128 },
        checkQuantisation,
      ),
    ];
  });
}

type Check = (backend: ExpertBackend, bench: Bench) => Promise<string>;

function testCase(name: string, shape: ExpertShape, check: Check): ConformanceCase {
  return {
    name,
    run: async (factory) => {
      const backend = await factory(shape);
      try {
        return await check(backend, new Bench(shape, backend));
      } finally {
        backend.destroy();
      }
    },
  };
}

async function checkAccuracy(backend: ExpertBackend, bench: Bench): Promise<string> {
  const experts = [0, 1, 2, 3, 4, 5];
  await backend.reserve(3, experts);
  await bench.loadAll(3, experts);
  await bench.poison(3, experts, 320);
  let worst = 0;
  for (const numRows of [0, 1, 5, 300]) {
    const lap = bench.lap(3, numRows, experts);
    worst = Math.max(worst, bench.compare(lap, (await backend.run(lap)).partial));
  }
  return `NMSE ${worst.toExponential(1)}`;
}

/** Rows beyond 65,535; as many assignments as rowEnd can count lie further apart. */
async function checkManyRows(backend: ExpertBackend, bench: Bench): Promise<string> {
  await bench.loadAll(0, [0, 1]);
  const assignments = Array.from({ length: 70_000 }, (_, row) => (row % 3 === 0 || row === 69_999 ? [row % 2] : []));
  const lap = bench.lapOf(0, assignments);
  return `NMSE ${bench.compare(lap, (await backend.run(lap)).partial).toExponential(1)}`;
}

async function checkIndependence(backend: ExpertBackend, bench: Bench): Promise<string> {
  const experts = [0, 1, 2, 3, 4];
  await bench.loadAll(1, experts);
  const lap = bench.lap(1, 37, experts);
  const together = (await backend.run(lap)).partial;
  const D = backend.shape.hiddenSize;
  for (let row = 0; row < lap.numRows; row++) {
    const alone = (await backend.run(sliceRows(lap, row))).partial;
    requireSame(together.subarray(row * D, (row + 1) * D), alone, `row ${row}`);
  }
  return `${lap.numRows} rows, bit for bit`;
}

async function checkConcurrent(backend: ExpertBackend, bench: Bench): Promise<string> {
  const layers = [0, 1, 2];
  const experts = [0, 1, 2, 3];
  for (const layer of layers) await bench.loadAll(layer, experts);
  const laps = Array.from({ length: 24 }, (_, i) => bench.lap(layers[i % 3]!, 1 + ((i * 7) % 40), experts));
  const together = await Promise.all(laps.map((lap) => backend.run(lap)));
  for (const [i, lap] of laps.entries()) {
    requireSame(together[i]!.partial, (await backend.run(lap)).partial, `lap ${i}`);
    bench.compare(lap, together[i]!.partial);
  }
  // As one piece of work, in whose middle a lap may be cut in two.
  const taken: Float32Array[] = [];
  await backend.runTogether?.(laps, (i, sums) => (taken[i] = sums.slice()));
  for (const [i, sums] of taken.entries()) requireSame(sums, together[i]!.partial, `lap ${i} of those taken together`);
  if (backend.runTogether) require(taken.length === laps.length, `${taken.length} laps were taken of ${laps.length}`);
  return `${laps.length} laps, bit for bit`;
}

async function checkGrowth(backend: ExpertBackend, bench: Bench): Promise<string> {
  const layers = [0, 2, 9];
  for (let expert = 0; expert < 11; expert++) {
    await Promise.all(layers.map((layer) => bench.load(layer, expert)));
    const lap = bench.lap(layers[expert % 3]!, 4, [0, expert]);
    bench.compare(lap, (await backend.run(lap)).partial);
  }
  // A reservation that is smaller than what is held, or larger, keeps what is held.
  await backend.reserve(2, [1]);
  await backend.reserve(
    2,
    Array.from({ length: 30 }, (_, expert) => expert),
  );
  const lap = bench.lap(
    2,
    20,
    Array.from({ length: 11 }, (_, expert) => expert),
  );
  return `NMSE ${bench.compare(lap, (await backend.run(lap)).partial).toExponential(1)}`;
}

async function checkReload(backend: ExpertBackend, bench: Bench): Promise<string> {
  const experts = [0, 1, 2];
  await bench.loadAll(5, experts);
  for (let round = 0; round < 8; round++) {
    const lap = bench.lap(5, 30, experts);
    const reference = bench.reference(lap);
    const result = backend.run(lap);
    const victim = round % 3;
    if (round === 7) for (const expert of experts) backend.unload(5, expert);
    else backend.unload(5, victim);
    require(!backend.has(5, victim), `has(5, ${victim}) is still true after unload`);
    await requireRefusal('not-loaded', () => backend.run(lap));
    const loaded = bench.load(5, victim);
    bench.compareWith(reference, (await result).partial);
    await loaded;
    if (round === 7) for (const expert of experts) await bench.load(5, expert);
    require(backend.has(5, victim), `has(5, ${victim}) is false after load`);
    const again = bench.lap(5, 9, experts);
    bench.compare(again, (await backend.run(again)).partial);
  }
  return '8 rounds';
}

async function checkMemory(backend: ExpertBackend, bench: Bench): Promise<string> {
  require(backend.allocatedBytes === 0, `a new backend holds ${backend.allocatedBytes} bytes`);
  require(backend.maxExpertsPerLayer >= 1, `maxExpertsPerLayer is ${backend.maxExpertsPerLayer}`);
  await backend.reserve(1, [4, 5, 6]);
  await bench.loadAll(1, [4, 5, 6]);
  const held = backend.allocatedBytes;
  require(held >= 3 * shardBytes(backend.shape), `three experts, and allocatedBytes is ${held}`);
  await bench.load(1, 5);
  require(backend.allocatedBytes === held, 'loading an expert again took more memory');
  for (const expert of [4, 5, 6, 6]) backend.unload(1, expert);
  backend.unload(7, 0);
  require(backend.allocatedBytes === 0, `${backend.allocatedBytes} bytes are held after everything was unloaded`);
  return `${held} bytes for three experts`;
}

async function checkRefusals(backend: ExpertBackend, bench: Bench): Promise<string> {
  await bench.loadAll(1, [0, 1]);
  const lap = bench.lap(1, 3, [0, 1]);
  const one = lap.experts.length;
  const wrong: [KernelErrorReason, WorkItem][] = [
    ['not-loaded', { ...lap, experts: Uint16Array.from(lap.experts, (expert, i) => (i === one - 1 ? 2 : expert)) }],
    ['not-loaded', { ...lap, layer: 2 }],
    ['bad-lap', { ...lap, numRows: 2 }],
    ['bad-lap', { ...lap, numRows: -1 }],
    ['bad-lap', { ...lap, numRows: 2.5 }],
    ['bad-lap', { ...lap, rows: lap.rows.subarray(1) }],
    ['bad-lap', { ...lap, rowEnd: lap.rowEnd.subarray(1) }],
    ['bad-lap', { ...lap, rowEnd: lap.rowEnd.slice().reverse() }],
    ['bad-lap', { ...lap, rowEnd: Uint16Array.from(lap.rowEnd, (end) => end + 1) }],
    ['bad-lap', { ...lap, weights: lap.weights.subarray(1) }],
    ['bad-lap', { ...lap, experts: lap.experts.subarray(1), weights: lap.weights.subarray(1) }],
    ['bad-lap', bench.lapOf(1, [Array.from({ length: 2000 }, () => 0)])],
  ];
  for (const [reason, bad] of wrong) await requireRefusal(reason, () => backend.run(bad));
  const shard = bench.shard(1, 0);
  await requireRefusal('bad-shard', () => backend.load(1, 0, shard.subarray(0, shard.length - 16)));
  await requireRefusal('bad-shard', () => backend.load(1, 3, new Uint8Array(0)));
  require(!backend.has(1, 3), 'a refused shard counts as loaded');
  bench.compare(lap, (await backend.run(lap)).partial);
  return `${wrong.length + 2} refusals`;
}

async function checkQuantisation(backend: ExpertBackend, bench: Bench): Promise<string> {
  await bench.loadAll(0, [0, 1, 2, 3]);
  const lap = bench.lap(0, 16, [0, 1, 2, 3]);
  const { partial } = await backend.run(lap);
  const error = nmse(bench.reference(lap, 'original'), partial);
  const limit = MAX_QUANTISATION_NMSE[backend.shape.quant];
  require(error <= limit, `NMSE ${error.toExponential(2)} against the original weights exceeds ${limit}`);
  return `NMSE ${error.toExponential(1)} against the original weights`;
}

/** Makes experts and laps from a fixed seed, and knows the right answers. */
class Bench {
  readonly #shape: ExpertShape;
  readonly #backend: ExpertBackend;
  readonly #random = mulberry32(0x5110a1);
  readonly #experts = new Map<string, { original: ExpertWeights; rounded: ExpertWeights; shard: Uint8Array }>();

  constructor(shape: ExpertShape, backend: ExpertBackend) {
    this.#shape = shape;
    this.#backend = backend;
  }

  async loadAll(layer: number, experts: readonly number[]): Promise<void> {
    for (const expert of experts) await this.load(layer, expert);
  }

  /** Load an expert, with other weights than the last time. */
  load(layer: number, expert: number): Promise<void> {
    const { hiddenSize: D, moeIntermediateSize: F } = this.#shape;
    const original = {
      gate: this.#normal(F * D, 1 / Math.sqrt(D)),
      up: this.#normal(F * D, 1 / Math.sqrt(D)),
      down: this.#normal(D * F, 1 / Math.sqrt(F)),
    };
    const shard = packExpert(this.#shape, original);
    this.#experts.set(`${layer}/${expert}`, { original, rounded: unpackExpert(this.#shape, shard), shard });
    return this.#backend.load(layer, expert, shard);
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

  lapOf(layer: number, assignments: readonly (readonly number[])[]): WorkItem {
    const D = this.#shape.hiddenSize;
    const rows = assignments.map(() => Uint16Array.from(this.#normal(D, 1), f32ToF16));
    return workItemOfRows(
      layer,
      assignments.map((experts, i) => ({ row: rows[i]!, experts, weights: this.#normal(experts.length, 1) })),
    );
  }

  /** Leave NaN in every buffer that the backend may use again, so that what it doesn't write shows. */
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
      const x = Float64Array.from(lap.rows.subarray(row * D, (row + 1) * D), f16ToF32);
      const [from, to] = rowRange(lap, row);
      for (let a = from; a < to; a++) {
        const expert = this.#experts.get(`${lap.layer}/${lap.experts[a]!}`)![which];
        addExpert64(expert, x, lap.weights[a]!, y.subarray(row * D, (row + 1) * D));
      }
    }
    return y;
  }

  compare(lap: WorkItem, partial: Float32Array): number {
    return this.compareWith(this.reference(lap), partial);
  }

  compareWith(reference: Float64Array, partial: Float32Array): number {
    require(partial.length === reference.length, `partial has ${partial.length} values, not ${reference.length}`);
    const error = nmse(reference, partial);
    const limit = MAX_NMSE[this.#shape.quant];
    require(error <= limit, `NMSE ${error.toExponential(2)} exceeds ${limit}`);
    for (const [i, value] of reference.entries()) {
      if (value === 0) require(partial[i] === 0, `value ${i} of a row without experts is ${partial[i]}`);
    }
    return error;
  }

  #normal(length: number, sigma: number): Float32Array {
    return Float32Array.from({ length }, () => {
      // Box–Muller.
      const radius = Math.sqrt(-2 * Math.log(1 - this.#random()));
      return sigma * radius * Math.cos(2 * Math.PI * this.#random());
    });
  }
}

function addExpert64({ gate, up, down }: ExpertWeights, x: Float64Array, weight: number, y: Float64Array): void {
  const D = x.length;
  const F = gate.length / D;
  const activations = new Float64Array(F);
  for (let f = 0; f < F; f++) {
    let g = 0;
    let u = 0;
    for (let d = 0; d < D; d++) {
      g += gate[f * D + d]! * x[d]!;
      u += up[f * D + d]! * x[d]!;
    }
    activations[f] = (g / (1 + Math.exp(-g))) * u;
  }
  for (let d = 0; d < D; d++) {
    let sum = 0;
    for (let f = 0; f < F; f++) sum += down[d * F + f]! * activations[f]!;
    y[d]! += weight * sum;
  }
}

/** Normalised mean squared error; NaN anywhere gives NaN, which no limit admits. */
function nmse(reference: Float64Array, values: Float32Array): number {
  let error = 0;
  let norm = 0;
  for (const [i, value] of reference.entries()) {
    error += (values[i]! - value) ** 2;
    norm += value ** 2;
  }
  return error === 0 ? 0 : error / norm;
}

function require(condition: boolean, message: string): void {
  if (!condition) throw new Error(message);
}

function requireSame(a: Float32Array, b: Float32Array, what: string): void {
  require(a.length === b.length, `${what}: ${a.length} values against ${b.length}`);
  for (let i = 0; i < a.length; i++) require(Object.is(a[i], b[i]), `${what} differs at ${i}: ${a[i]} and ${b[i]}`);
}

async function requireRefusal(reason: KernelErrorReason, attempt: () => Promise<unknown>): Promise<void> {
  try {
    await attempt();
  } catch (error) {
    if (error instanceof KernelError && error.reason === reason) return;
    throw error;
  }
  throw new Error(`was accepted, where ${reason} was due`);
}

/** A small seeded generator (Tommy Ettinger's mulberry32), uniform in [0, 1). */
function mulberry32(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

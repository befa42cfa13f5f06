import { sliceRows } from '@shoal/model';
import { type ExpertShape, matrixOf, packExpertRows, type Quant, QUANTS, shardLayout } from '@shoal/weights';
import type { ExpertBackend } from './backend.ts';
import { checkAdapters } from './testing/adapter-checks.ts';
import { ConformanceBench, require } from './testing/conformance-bench.ts';
import { nmse } from './testing/numbers.ts';
import { requireSame } from './testing/requirements.ts';
import { checkGrowth, checkMemory, checkRefusals, checkReload } from './testing/storage-checks.ts';

/**
 * What every ExpertBackend must do, as cases that need no test framework: a Node test runs them one by one, a browser page
 * some of them (`kernelCases`, `hostCases`) together. Results are compared with a float64 reference on the same rounded weights.
 */

/** NMSE of an expert's output with quantised weights against the unquantised ones, for normally distributed weights. */
const MAX_QUANTISATION_NMSE: Readonly<Record<Quant, number>> = { f16: 1e-6, q8: 1e-4, q4: 3e-2, mxfp4: 5e-2 };

export type BackendFactory = (shape: ExpertShape) => Promise<ExpertBackend>;

export interface ConformanceCase {
  name: string;
  /** Resolves with what was measured. Rejects with what is wrong. */
  run(factory: BackendFactory): Promise<string>;
}

export interface ConformanceResult {
  name: string;
  ok: boolean;
  detail: string;
}

export async function runConformance(
  factory: BackendFactory,
  cases: readonly ConformanceCase[],
): Promise<ConformanceResult[]> {
  const results: ConformanceResult[] = [];
  for (const { name, run } of cases) {
    try {
      results.push({ name, ok: true, detail: await run(factory) });
    } catch (error) {
      results.push({ name, ok: false, detail: error instanceof Error ? error.message : String(error) });
    }
  }
  return results;
}

/** hiddenSize × moeIntermediateSize: the default model's, and sizes that end inside blocks of 8, 32 and 64. KINDS has others. */
const SIZES: readonly (readonly [number, number])[] = [
  [192, 64],
  [33, 17],
  [7, 130],
  [257, 96],
];

const tinyShape = (quant: Quant): ExpertShape => ({ hiddenSize: 40, moeIntermediateSize: 24, quant });

/**
 * Kinds of experts other than SwiGLU without biases: each with floats and with integers, with biases and without, at a size that
 * ends inside every block; and gpt-oss's kind at its hidden size.
 */
const KINDS: readonly ExpertShape[] = [
  { hiddenSize: 90, moeIntermediateSize: 45, quant: 'mxfp4', activation: 'clamped-swiglu', bias: true },
  { hiddenSize: 90, moeIntermediateSize: 45, quant: 'f16', activation: 'clamped-swiglu' },
  { hiddenSize: 45, moeIntermediateSize: 90, quant: 'f16', activation: 'geglu', bias: true },
  { hiddenSize: 90, moeIntermediateSize: 45, quant: 'q8', activation: 'geglu' },
  { hiddenSize: 90, moeIntermediateSize: 45, quant: 'q4', activation: 'relu', bias: true },
  { hiddenSize: 45, moeIntermediateSize: 90, quant: 'mxfp4', activation: 'relu2' },
  { hiddenSize: 45, moeIntermediateSize: 90, quant: 'q8', activation: 'gelu' },
];

/** All cases. */
export function conformanceCases(): ConformanceCase[] {
  return [
    ...QUANTS.flatMap((quant) => (quant === 'mxfp4' ? mxfp4Cases() : formatCases(quant))),
    ...KINDS.map((shape) => kindCase(shape)),
    ...ADAPTED.map((shape) => adapterCase(shape)),
  ];
}

/** One case for each kernel: what code that passes all cases elsewhere has to show where only its compiler is another. */
export function kernelCases(): ConformanceCase[] {
  return [
    ...QUANTS.map((quant) => kernelCase(quant)),
    ...KINDS.map((shape) => kindCase(shape)),
    scalesCase(),
    adapterCase(ADAPTED[0]!),
  ];
}

/** The same about how experts and laps are kept, and about sizes: in one format each. */
export function hostCases(): ConformanceCase[] {
  return [wideCase(), manyRowsCase('f16'), ...storageCases('f16')];
}

/** Of a format that stores its blocks as q4 does: what is about experts and laps is the same. */
function mxfp4Cases(): ConformanceCase[] {
  return [
    kernelCase('mxfp4'),
    quantisationCase({ hiddenSize: 33, moeIntermediateSize: 70, quant: 'mxfp4' }),
    wideCase(),
    scalesCase(),
  ];
}

/** Of a shape that another case has, since GPUs compile for each shape. */
function quantisationCase(shape: ExpertShape): ConformanceCase {
  return testCase(`${shape.quant}: quantisation error against the original weights`, shape, checkQuantisation);
}

function wideCase(): ConformanceCase {
  const gptOss = { quant: 'mxfp4', activation: 'clamped-swiglu', bias: true } as const;
  const shape = { hiddenSize: 2880, moeIntermediateSize: 96, ...gptOss };
  return testCase('mxfp4 2880x96 clamped-swiglu with biases: one row and five', shape, checkWide);
}

function manyRowsCase(quant: Quant): ConformanceCase {
  const shape = { hiddenSize: 8, moeIntermediateSize: 8, quant };
  return testCase(`${quant}: more rows than one dispatch dimension`, shape, checkManyRows);
}

function kindCase(shape: ExpertShape): ConformanceCase {
  const { hiddenSize, moeIntermediateSize, quant, activation, bias } = shape;
  const name = `${quant} ${hiddenSize}x${moeIntermediateSize} ${activation}${bias ? ' with biases' : ''}`;
  return testCase(`${name}: 0, 1, 5 and 300 rows, and each alone`, shape, async (backend, bench) => {
    return `${await checkAccuracy(backend, bench)}; ${await checkIndependence(backend, bench)}`;
  });
}

/** All cases of SwiGLU without biases in one format. */
function formatCases(quant: Quant): ConformanceCase[] {
  const tiny = tinyShape(quant);
  return [
    ...SIZES.map(([hiddenSize, moeIntermediateSize]) => {
      const shape = { hiddenSize, moeIntermediateSize, quant };
      return testCase(`${quant} ${hiddenSize}x${moeIntermediateSize}: 0, 1, 5 and 300 rows`, shape, checkAccuracy);
    }),
    // The rows that integer kernels take are rounded first, in the same way for all formats of integers.
    ...(quant === 'q4' ? [] : [manyRowsCase(quant)]),
    testCase(`${quant}: rows beyond f16, with an exponent`, tiny, checkLargeRows),
    testCase(`${quant}: a row's result does not depend on the other rows`, tiny, checkIndependence),
    testCase(`${quant}: laps in flight together equal laps alone`, tiny, checkConcurrent),
    ...storageCases(quant),
    quantisationCase({ hiddenSize: 257, moeIntermediateSize: 96, quant }),
  ];
}

/** The cases about how a backend keeps experts and what it refuses, which do not depend on how it multiplies. */
export function storageCases(quant: Quant): ConformanceCase[] {
  const tiny = tinyShape(quant);
  return [
    testCase(`${quant}: experts of several layers, loaded without a reservation`, tiny, checkGrowth),
    testCase(`${quant}: unloading and loading anew while laps are in flight`, tiny, checkReload),
    testCase(`${quant}: memory is counted and given back`, tiny, checkMemory),
    testCase(`${quant}: what contradicts itself is refused whole`, tiny, checkRefusals),
  ];
}

/**
 * One case, on one backend, that tells variants of the same kernels apart. Both sizes end inside a step of 32 columns, 33 with
 * a single column and 70 with six; 33 output columns leave threads of a workgroup of 64 idle, and 70 need a second workgroup;
 * an odd and an even number of rows put a block's scale at either half of a word. Its laps have no rows, one row, single rows
 * and whole tiles of an expert, rows without experts and repeated experts, and they come alone, row by row and concurrently.
 */
export function kernelCase(quant: Quant): ConformanceCase {
  const shape = { hiddenSize: 33, moeIntermediateSize: 70, quant };
  return testCase(
    `${quant} 33x70: laps of every kind, alone, row by row and together`,
    shape,
    async (backend, bench) => {
      const measured: string[] = [];
      for (const check of [checkAccuracy, checkLargeRows, checkIndependence, checkConcurrent])
        measured.push(await check(backend, bench));
      return measured.join('; ');
    },
  );
}

/** Ragged sizes, and a kind without a gate. Integers take the same floats as adapters do. */
const ADAPTED: readonly ExpertShape[] = [
  { hiddenSize: 90, moeIntermediateSize: 45, quant: 'f16' },
  { hiddenSize: 45, moeIntermediateSize: 90, quant: 'q4', activation: 'relu', bias: true },
];

export function adapterCase(shape: ExpertShape): ConformanceCase {
  const { hiddenSize, moeIntermediateSize, quant, activation = 'swiglu' } = shape;
  const name = `${quant} ${hiddenSize}x${moeIntermediateSize} ${activation} with adapters`;
  return testCase(`${name}: of several, with scales and none, in one lap`, shape, checkAdapters);
}

type Check = (backend: ExpertBackend, bench: ConformanceBench) => Promise<string>;

function testCase(name: string, shape: ExpertShape, check: Check): ConformanceCase {
  return {
    name,
    run: async (factory) => {
      const backend = await factory(shape);
      try {
        return await check(backend, new ConformanceBench(shape, backend));
      } finally {
        backend.destroy();
      }
    },
  };
}

async function checkAccuracy(backend: ExpertBackend, bench: ConformanceBench): Promise<string> {
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

/** Rows of up to 1e5, which f16 holds with an exponent, among others; each on its own scale. */
async function checkLargeRows(backend: ExpertBackend, bench: ConformanceBench): Promise<string> {
  const experts = [0, 1, 2];
  await bench.loadAll(4, experts);
  const lap = { ...bench.lap(4, 5, experts), exponents: Uint8Array.of(0, 16, 0, 3, 17) };
  const { partial } = await backend.run(lap);
  const reference = bench.reference(lap);
  const D = backend.shape.hiddenSize;
  const errors = Array.from({ length: lap.numRows }, (_, row) =>
    bench.compareWith(reference.subarray(row * D, (row + 1) * D), partial.subarray(row * D, (row + 1) * D)),
  );
  return `NMSE ${Math.max(...errors).toExponential(1)}`;
}

/** More than 65,535 rows, with gaps between those that have an expert, since `rowEnd` counts no more assignments than that. */
async function checkManyRows(backend: ExpertBackend, bench: ConformanceBench): Promise<string> {
  await bench.loadAll(0, [0, 1]);
  const assignments = Array.from({ length: 70_000 }, (_, row) => (row % 16 === 0 || row === 69_999 ? [row % 2] : []));
  const lap = bench.lapOf(0, assignments);
  return `NMSE ${bench.compare(lap, (await backend.run(lap)).partial).toExponential(1)}`;
}

async function checkWide(backend: ExpertBackend, bench: ConformanceBench): Promise<string> {
  await bench.loadAll(0, [0, 1]);
  const errors = [[[1]], [[0], [0, 1], [0], [], [0]]].map(async (assignments) => {
    const lap = bench.lapOf(0, assignments);
    return bench.compare(lap, (await backend.run(lap)).partial);
  });
  return `NMSE ${Math.max(...(await Promise.all(errors))).toExponential(1)}`;
}

/** mxfp4 with scales that float32 holds only in part. */
export function scalesCase(): ConformanceCase {
  return testCase('mxfp4: scales from the least to the largest', SCALES_SHAPE, checkScales);
}

/**
 * E8M0 scales at both ends of their range, in pairs that give outputs of about the same size: of 32 rows of `up`, and of the 32
 * columns of `down` that take them.
 */
const SCALE_PAIRS = [
  [254, 0],
  [253, 0],
  [252, 1],
  [250, 2],
  [127, 125],
  [45, 207],
] as const;
const SCALES_SHAPE: ExpertShape = {
  hiddenSize: 70,
  moeIntermediateSize: 32 * SCALE_PAIRS.length - 3,
  quant: 'mxfp4',
  activation: 'relu',
};

async function checkScales(backend: ExpertBackend, bench: ConformanceBench): Promise<string> {
  const layout = shardLayout(SCALES_SHAPE);
  const shard = new Uint8Array(layout.totalBytes);
  for (const { name, rows, cols, colBlocks } of layout.matrices) {
    const matrix = matrixOf(layout, name);
    for (let row = 0; row < rows; row++) {
      const scales = Uint8Array.from({ length: colBlocks }, (_, block) =>
        name === 'up' ? SCALE_PAIRS[row >> 5]![0] : SCALE_PAIRS[block]![1],
      );
      // The largest scales leave room for the smallest elements only.
      const largest = Math.max(...scales) >= 253 ? 0x33 : 0x77;
      const codes = Uint8Array.from({ length: Math.ceil(cols / 2) }, (_, i) => {
        return ((row * 37 + i * 11 + ((row * i) >> 2)) * 73) & (0x88 | largest);
      });
      packExpertRows('mxfp4', matrix, { codes, scales }, shard, row);
    }
  }
  await bench.loadShard(0, 0, shard);
  const lap = bench.lapOf(0, [[0], [0], [0]], 2 ** -12);
  return `NMSE ${bench.compare(lap, (await backend.run(lap)).partial).toExponential(1)}`;
}

async function checkIndependence(backend: ExpertBackend, bench: ConformanceBench): Promise<string> {
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

async function checkConcurrent(backend: ExpertBackend, bench: ConformanceBench): Promise<string> {
  const layers = [0, 1, 2];
  const experts = [0, 1, 2, 3];
  for (const layer of layers) await bench.loadAll(layer, experts);
  const laps = Array.from({ length: 24 }, (_, i) => bench.lap(layers[i % 3]!, 1 + ((i * 7) % 40), experts));
  const together = await Promise.all(laps.map((lap) => backend.run(lap)));
  for (const [i, lap] of laps.entries()) {
    requireSame(together[i]!.partial, (await backend.run(lap)).partial, `lap ${i}`);
    bench.compare(lap, together[i]!.partial);
  }
  // As one batch, in which a lap may be cut in two.
  const taken: Float32Array[] = [];
  await backend.runTogether?.(laps, (i, sums) => (taken[i] = sums.slice()));
  for (const [i, sums] of taken.entries()) requireSame(sums, together[i]!.partial, `lap ${i} of those taken together`);
  if (backend.runTogether) require(taken.length === laps.length, `${taken.length} laps were taken of ${laps.length}`);
  return `${laps.length} laps, bit for bit`;
}

async function checkQuantisation(backend: ExpertBackend, bench: ConformanceBench): Promise<string> {
  await bench.loadAll(0, [0, 1, 2, 3]);
  const lap = bench.lap(0, 16, [0, 1, 2, 3]);
  const { partial } = await backend.run(lap);
  const error = nmse(partial, bench.reference(lap, 'original'));
  const limit = MAX_QUANTISATION_NMSE[backend.shape.quant];
  require(error <= limit, `NMSE ${error.toExponential(2)} against the original weights exceeds ${limit}`);
  return `NMSE ${error.toExponential(1)} against the original weights`;
}

import { createRng, decodeF16, encodeF16, type WorkItem, uniformWorkItem } from '@shoal/model';
import { packExpert, type ExpertShape } from '@shoal/weights';
import * as ort from 'onnxruntime-web/webgpu';
import { createWebGpuBackend } from '../../../packages/kernels/src/webgpu/create.ts';
import { variantName, variantsFor } from '../../../packages/kernels/src/wgsl/expert-ffn/variants.ts';
import { onnxExpert } from './onnx.ts';

export interface KernelBenchCase extends ExpertShape {
  numRows: number;
  repeats: number;
}

export interface KernelBenchResult {
  variant: string;
  /** The same for each variant that the device can run, chosen or not. */
  variantMs: Record<string, number[]>;
  /** Milliseconds from rows in memory to results in memory, one value per repeat. */
  oursMs: number[];
  /** MatMulNBits with f32 products (accuracy_level 0), and with int8 inputs (4), which is less exact. */
  ortMs: number[];
  ortInt8Ms: number[];
  /** Relative L2 distance between our result and each of ONNX Runtime's. */
  distance: number;
  int8Distance: number;
}

const WARM_UP_RUNS = 3;

/** Measures one expert with the same codes and rows on both sides; runs alternate, so disturbances hit all equally. */
async function benchKernel({ numRows, repeats, ...shape }: KernelBenchCase): Promise<KernelBenchResult> {
  const { shard, lap } = randomCase(shape, numRows);
  const chosen = await createWebGpuBackend({ gpu: navigator.gpu, shape });
  await chosen.backend.load(0, 0, shard);
  const others = await everyVariant(shape, shard);
  const theirs = await ortExpert(shape, shard, lap, 0);
  const theirsInt8 = await ortExpert(shape, shard, lap, 4);
  const { times, results } = await alternate(repeats, [
    async () => (await chosen.backend.run(lap)).partial,
    theirs.run,
    theirsInt8.run,
    ...others.map(
      ({ backend }) =>
        async () =>
          (await backend.run(lap)).partial,
    ),
  ]);
  for (const { backend } of [chosen, ...others]) backend.destroy();
  await Promise.all([theirs.release(), theirsInt8.release()]);
  return {
    variant: chosen.variant,
    variantMs: Object.fromEntries(others.map(({ variant }, i) => [variant, times[3 + i]!])),
    oursMs: times[0]!,
    ortMs: times[1]!,
    ortInt8Ms: times[2]!,
    distance: relativeL2(results[0]!, results[1]!),
    int8Distance: relativeL2(results[0]!, results[2]!),
  };
}

/** An expert with normally distributed weights, and a lap with rows of unit variance. */
function randomCase(shape: ExpertShape, numRows: number): { shard: Uint8Array; lap: WorkItem } {
  const random = createRng(7);
  const normal = (length: number, deviation: number): Float32Array =>
    Float32Array.from(
      { length },
      () => deviation * Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random()),
    );
  const { hiddenSize: D, moeIntermediateSize: F } = shape;
  const shard = packExpert(shape, {
    gate: normal(F * D, 1 / Math.sqrt(D)),
    up: normal(F * D, 1 / Math.sqrt(D)),
    down: normal(D * F, 1 / Math.sqrt(F)),
  });
  const lap = uniformWorkItem({
    layer: 0,
    rows: encodeF16(normal(numRows * D, 1)),
    numRows,
    experts: new Uint16Array(numRows),
    weights: new Float32Array(numRows).fill(1),
  });
  return { shard, lap };
}

/** Returns the milliseconds of each run in each round, and each run's last result of the warm-up. */
async function alternate(
  repeats: number,
  runs: readonly (() => Promise<Float32Array>)[],
): Promise<{ times: number[][]; results: Float32Array[] }> {
  let results: Float32Array[] = [];
  for (let i = 0; i < WARM_UP_RUNS; i++) {
    results = [];
    for (const run of runs) results.push(await run());
  }
  const times: number[][] = runs.map(() => []);
  for (let i = 0; i < repeats; i++) {
    for (const [which, run] of runs.entries()) {
      const startedMs = performance.now();
      await run();
      times[which]!.push(performance.now() - startedMs);
    }
  }
  return { times, results };
}

async function everyVariant(shape: ExpertShape, shard: Uint8Array) {
  const adapter = await navigator.gpu.requestAdapter();
  const variants = variantsFor(shape, {
    hasSubgroups: adapter!.features.has('subgroups'),
    hasIntegerDot: navigator.gpu.wgslLanguageFeatures.has('packed_4x8_integer_dot_product'),
  });
  return Promise.all(
    variants.map(async (variant) => {
      const { backend } = await createWebGpuBackend({ gpu: navigator.gpu, shape, variant });
      await backend.load(0, 0, shard);
      return { variant: variantName(variant), backend };
    }),
  );
}

async function ortExpert(
  shape: ExpertShape,
  shard: Uint8Array,
  { rows, numRows }: WorkItem,
  accuracyLevel: 0 | 4,
): Promise<{ run: () => Promise<Float32Array>; release: () => Promise<void> }> {
  const model = onnxExpert(shape, shard, numRows, accuracyLevel);
  const session = await ort.InferenceSession.create(model, { executionProviders: ['webgpu'], logSeverityLevel: 3 });
  // ONNX Runtime takes f32: widening the halves counts in our time, but not in its time.
  const values = decodeF16(rows);
  return {
    run: async () => {
      const { y } = await session.run({ x: new ort.Tensor('float32', values, [numRows, shape.hiddenSize]) });
      return (await y!.getData()) as Float32Array;
    },
    release: () => session.release(),
  };
}

function relativeL2(a: Float32Array, b: Float32Array): number {
  let [error, power] = [0, 0];
  for (const [i, value] of a.entries()) {
    error += (value - b[i]!) ** 2;
    power += value * value;
  }
  return Math.sqrt(error / power);
}

ort.env.wasm.numThreads = 1;
Object.assign(globalThis, { benchKernel });

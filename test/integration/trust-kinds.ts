/**
 * Measures how far honest answers of every kind of expert lie from the coordinator's computation, for models without a calibration
 * of their own: `node --import tsx test/integration/trust-kinds.ts` → coordinator/src/trust/kinds.json (docs/adr/0007).
 */
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { createReferenceBackend, type ExpertBackend, type ExpertShape, type WorkItem } from '@shoal/kernels';
import { createWasmBackend } from '@shoal/kernels/node';
import {
  createRng,
  encodeF16,
  EXPERT_ACTIVATIONS,
  type ExpertActivation,
  type ExpertWeights,
  isGated,
  normalDraw,
  type Rng,
  workItemOfRows,
} from '@shoal/model';
import { packExpert, QUANTS, type Quant } from '@shoal/weights';
import { format, resolveConfig } from 'prettier';
import { runnerImport } from 'vite';
import { dawnAdapter } from '../contract/dawn.ts';
import { flushing, INT8_BOUNDS, type Measured, measureDistances, quantilesOf } from './trust-distances.ts';

type CreateWebGpu = typeof import('../../packages/kernels/src/webgpu/create.ts');

const OUTPUT = join(import.meta.dirname, '../../coordinator/src/trust/kinds.json');
const SEED = 5;
/** A quarter of gpt-oss's width, so that sums are long and end inside a block. */
const DIMENSIONS = { hiddenSize: 720, moeIntermediateSize: 180 } as const;
const EXPERTS = 8;
const LAPS = 16;
const ROWS_PER_LAP = 16;

/**
 * What the rows are like. `outliers`: as after an RMSNorm of a massive activation, one value has nearly all of the row's norm
 * (√720 = 27).
 */
const ROWS: Readonly<Record<string, (rng: Rng) => Float32Array>> = {
  usual: (rng) => normalRow(rng, 1),
  outliers: (rng) => {
    const row = normalRow(rng, 0.05);
    row[Math.floor(rng() * row.length)] = rng() < 0.5 ? 27 : -27;
    return row;
  },
};

async function main(): Promise<void> {
  const measured = [];
  for (const shape of shapes()) {
    for (const rows of Object.keys(ROWS)) {
      const distances = await measureShape(shape, rows);
      measured.push({ shape, rows, backends: distances });
      process.stderr.write(`${JSON.stringify(shape)} ${rows}: ${JSON.stringify(distances)}\n`);
    }
  }
  const style = await resolveConfig(OUTPUT);
  await writeFile(OUTPUT, await format(JSON.stringify({ seed: SEED, measured }), { ...style, parser: 'json' }));
}

/** SwiGLU in every format, and the other activations in those of floats and of integers, with biases where gpt-oss has them. */
function shapes(): ExpertShape[] {
  return QUANTS.flatMap((quant) => EXPERT_ACTIVATIONS.map((activation) => shapeOf(quant, activation)));
}

function shapeOf(quant: Quant, activation: ExpertActivation): ExpertShape {
  const bias = activation === 'clamped-swiglu';
  return { ...DIMENSIONS, quant, ...(activation !== 'swiglu' && { activation }), ...(bias && { bias }) };
}

async function measureShape(shape: ExpertShape, rows: string) {
  const rng = createRng(SEED);
  const shards = Array.from({ length: EXPERTS }, () => packExpert(shape, randomExpert(shape, rng)));
  const laps = Array.from({ length: LAPS }, () => lapOf(ROWS[rows]!, rng));
  // The coordinator computes audits with this backend.
  const own = await createWasmBackend({ shape, threads: 1 });
  await loadAll(own, shards);
  const expectedOf = async (lap: WorkItem): Promise<Float32Array> => (await own.run(lap)).partial;
  const distances: Record<string, ReturnType<typeof summary>> = {};
  for (const [name, backends] of Object.entries(await backendsOf(shape))) {
    const f16: Measured[] = [];
    const int8: Measured[] = [];
    for (const backend of backends) {
      await loadAll(backend, shards);
      f16.push(...(await measureDistances(backend, laps, expectedOf)));
      int8.push(...(await measureDistances(backend, laps, expectedOf, INT8_BOUNDS)));
      backend.destroy();
    }
    distances[name] = summary(f16, int8);
  }
  own.destroy();
  return distances;
}

async function backendsOf(shape: ExpertShape): Promise<Record<string, ExpertBackend[]>> {
  const { module: webgpu } = await runnerImport<CreateWebGpu>(
    join(import.meta.dirname, '../../packages/kernels/src/webgpu/create.ts'),
  );
  const arithmetics = shape.quant === 'f16' ? (['f32'] as const) : (['f32', 'int8'] as const);
  const onWebGpu = arithmetics.map(async (arithmetic) => {
    const variant = { arithmetic, loads: 'subgroup' } as const;
    return (await webgpu.createWebGpuBackend({ gpu: await dawnAdapter(), shape, variant })).backend;
  });
  return {
    reference: [createReferenceBackend(shape)],
    wasm: [await createWasmBackend({ shape, threads: 2 })],
    webgpu: await Promise.all(onWebGpu),
    'webgpu, subnormal halves of weights and rows taken for zero (simulated)': [
      flushing(createReferenceBackend(shape)),
    ],
  };
}

async function loadAll(backend: ExpertBackend, shards: readonly Uint8Array[]): Promise<void> {
  await backend.reserve(
    0,
    shards.map((_, expert) => expert),
  );
  for (const [expert, shard] of shards.entries()) await backend.load(0, expert, shard);
}

/** Weights that keep the size of what they multiply. Half of the values are clamped where the kind clamps. */
function randomExpert(shape: ExpertShape, rng: Rng): ExpertWeights {
  const { hiddenSize: D, moeIntermediateSize: F, activation = 'swiglu', bias } = shape;
  const normal = (count: number, deviation: number): Float32Array =>
    Float32Array.from({ length: count }, () => deviation * normalDraw(rng));
  const spread = (activation === 'clamped-swiglu' ? 8 : 1) / Math.sqrt(D);
  const gated = isGated(activation);
  return {
    gate: gated ? normal(F * D, spread) : null,
    up: normal(F * D, spread),
    down: normal(D * F, 1 / Math.sqrt(F)),
    biases: bias ? { gate: gated ? normal(F, 1) : null, up: normal(F, 1), down: normal(D, 1) } : null,
  };
}

function lapOf(rowOf: (rng: Rng) => Float32Array, rng: Rng): WorkItem {
  const rows = Array.from({ length: ROWS_PER_LAP }, () => {
    const first = Math.floor(rng() * EXPERTS);
    const experts = Array.from({ length: 1 + Math.floor(rng() * 4) }, (_, i) => (first + i) % EXPERTS);
    return { row: encodeF16(rowOf(rng)), experts, weights: Float32Array.from(experts, () => 0.05 + rng()) };
  });
  return workItemOfRows(0, rows);
}

function normalRow(rng: Rng, deviation: number): Float32Array {
  return Float32Array.from({ length: DIMENSIONS.hiddenSize }, () => deviation * normalDraw(rng));
}

function summary(f16: readonly Measured[], int8: readonly Measured[]) {
  return { rows: f16.length, ...quantilesOf(f16), int8: quantilesOf(int8) };
}

await main();

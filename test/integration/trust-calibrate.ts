/**
 * Measures how far honest answers lie from the coordinator's computation, and writes the basis of the audit bounds:
 * `node --import tsx test/integration/trust-calibrate.ts` → coordinator/src/trust/calibration.json (docs/adr/0007).
 */
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { createReferenceBackend, type ExpertBackend } from '@shoal/kernels';
import { createWasmBackend } from '@shoal/kernels/node';
import {
  createRng,
  encodeF16,
  itemOfCall,
  type MoeCall,
  type Rng,
  type WorkItem,
  uniformWorkItem,
  sliceRows,
  copyWorkItem,
  workItemOfRows,
} from '@shoal/model';
import { QUANTS } from '@shoal/weights';
import { format, resolveConfig } from 'prettier';
import { runnerImport } from 'vite';
import { type Core, createCore } from '../../coordinator/src/index.ts';
import { dawnAdapter } from '../contract/dawn.ts';
import { answer } from './answers.ts';
import { GOLDEN } from './golden.ts';
import { tinyConfig } from './tiny-coordinator.ts';
import { flushing, INT8_BOUNDS, type Measured, measureDistances, quantilesOf, short } from './trust-distances.ts';

type CreateWebGpu = typeof import('../../packages/kernels/src/webgpu/create.ts');

const OUTPUT = join(import.meta.dirname, '../../coordinator/src/trust/calibration.json');
const SEED = 3;
/** Real hidden rows of each layer, drawn from those of the golden prompts and their answers. */
const REAL_ROWS_PER_LAYER = 400;
const RANDOM_ROWS_PER_LAYER = 400;
const ROWS_PER_LAP = 16;
/** Rows kept for resampling, in addition to the maxima. */
const SAMPLE = 500;

async function main(): Promise<void> {
  const { module: webgpu } = await runnerImport<CreateWebGpu>(
    join(import.meta.dirname, '../../packages/kernels/src/webgpu/create.ts'),
  );
  const models = [];
  for (const quant of QUANTS) {
    const core = await createCore(tinyConfig({ quant, replicas: 1 }));
    const rng = createRng(SEED);
    const laps = [...(await realLaps(core, rng)), ...randomLaps(core, rng)];
    const { shape } = core.packed.manifest;
    const expectedOf = (lap: WorkItem): Promise<Float32Array> => core.work.audits.compute(lap);
    // A tab's GPU decides its arithmetic and does not report it: one bound holds for both.
    const arithmetics = quant === 'f16' ? (['f32'] as const) : (['f32', 'int8'] as const);
    const onWebGpu = arithmetics.map(async (arithmetic) => {
      const variant = { arithmetic, loads: 'subgroup' } as const;
      return (await webgpu.createWebGpuBackend({ gpu: await dawnAdapter(), shape, variant })).backend;
    });
    const backends = {
      reference: [createReferenceBackend(shape)],
      wasm: [await createWasmBackend({ shape, threads: 2 })],
      webgpu: await Promise.all(onWebGpu),
      'webgpu, subnormal halves of weights and rows taken for zero (simulated)': [
        flushing(createReferenceBackend(shape)),
      ],
    };
    const measured: Record<string, ReturnType<typeof summary> & { int8: ReturnType<typeof quantilesOf> }> = {};
    for (const [name, ofName] of Object.entries(backends)) {
      const rows: Measured[] = [];
      const rowsInt8: Measured[] = [];
      for (const backend of ofName) {
        await load(core, backend);
        rows.push(...(await measureDistances(backend, laps, expectedOf)));
        rowsInt8.push(...(await measureDistances(backend, laps, expectedOf, INT8_BOUNDS)));
        backend.destroy();
      }
      measured[name] = { ...summary(rows, rng), int8: quantilesOf(rowsInt8) };
      process.stderr.write(
        `${quant} ${name}: ${JSON.stringify({ ...measured[name], sampleRelativeL2: undefined, sampleNormDeviation: undefined })}\n`,
      );
    }
    const { modelId, modelDigest } = core.packed.manifest;
    models.push({ modelId, modelDigest, shape, backends: measured });
    await core.close();
  }
  const style = await resolveConfig(OUTPUT);
  await writeFile(OUTPUT, await format(JSON.stringify({ seed: SEED, models }), { ...style, parser: 'json' }));
}

async function load(core: Core, backend: ExpertBackend): Promise<void> {
  const { expertLayers, expertsPerLayer } = core.packed.manifest;
  const experts = Array.from({ length: expertsPerLayer }, (_, expert) => expert);
  for (const layer of expertLayers) {
    await backend.reserve(layer, experts);
    for (const expert of experts) await backend.load(layer, expert, await core.packed.readShard(layer, expert));
  }
}

/** Rows as the gate sent them, of the golden prompts and the model's answers to them. */
async function realLaps(core: Core, rng: Rng): Promise<WorkItem[]> {
  const seen = new Map<number, WorkItem[]>();
  const batch = core.dispatcher.batch.bind(core.dispatcher);
  core.dispatcher.batch = (...args) => {
    const inner = batch(...args);
    return {
      dispatch: (call) => {
        seen.set(call.layer, [...(seen.get(call.layer) ?? []), ...rowsOf(call)]);
        return inner.dispatch(call);
      },
    };
  };
  for (const { prompt_ids: prompt, greedy_ids: greedy } of GOLDEN) {
    await answer(core, [...prompt, ...greedy], { maxTokens: 24, temperature: 0.8 });
  }
  return [...seen.values()].flatMap((rows) => joined(shuffled(rows, rng).slice(0, REAL_ROWS_PER_LAYER), rng));
}

function rowsOf(call: MoeCall): WorkItem[] {
  const all = itemOfCall(call);
  return Array.from({ length: all.numRows }, (_, row) => copyWorkItem(sliceRows(all, row)));
}

/** Rows of unit variance, of one to four random experts with random weights, as in known-answer tests. */
function randomLaps(core: Core, rng: Rng): WorkItem[] {
  const { expertLayers, expertsPerLayer, shape } = core.packed.manifest;
  return expertLayers.flatMap((layer) => {
    const rows = Array.from({ length: RANDOM_ROWS_PER_LAYER }, (): WorkItem => {
      const count = 1 + Math.floor(rng() * 4);
      const all = shuffled([...Array(expertsPerLayer).keys()], rng);
      return uniformWorkItem({
        layer,
        rows: encodeF16(Float32Array.from({ length: shape.hiddenSize }, () => (rng() + rng() + rng() - 1.5) * 2)),
        numRows: 1,
        experts: Uint16Array.from(all.slice(0, count)),
        weights: Float32Array.from({ length: count }, () => 0.05 + rng()),
      });
    });
    return joined(rows, rng);
  });
}

/** Laps of several rows, each with all or, as on a tab that holds a part of the layer, some of its experts. */
function joined(rows: readonly WorkItem[], rng: Rng): WorkItem[] {
  const laps: WorkItem[] = [];
  for (let from = 0; from < rows.length; from += ROWS_PER_LAP) {
    const group = rows.slice(from, from + ROWS_PER_LAP).map((row) => {
      const kept = Math.max(1, Math.ceil(rng() * row.experts.length));
      return { row: row.rows, experts: row.experts.slice(0, kept), weights: row.weights.slice(0, kept) };
    });
    laps.push(workItemOfRows(rows[from]!.layer, group));
  }
  return laps;
}

function summary(measured: readonly Measured[], rng: Rng) {
  const sample = shuffled(measured, rng).slice(0, SAMPLE);
  return {
    rows: measured.length,
    ...quantilesOf(measured),
    // Of the same rows, in the same order.
    sampleRelativeL2: sample.map((row) => short(row.relativeL2)),
    sampleNormDeviation: sample.map((row) => short(row.normDeviation)),
  };
}

function shuffled<T>(items: readonly T[], rng: Rng): T[] {
  const copy = [...items];
  for (let i = copy.length - 1; i > 0; i--) {
    const j = Math.floor(rng() * (i + 1));
    [copy[i], copy[j]] = [copy[j]!, copy[i]!];
  }
  return copy;
}

await main();

import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  argmax,
  createReferenceEngine,
  createRng,
  expertTensors,
  listDenseTensors,
  listTensorSpecs,
  loadDenseWeights,
  loadExpert,
  LocalExperts,
  type ModelConfig,
  moeLayers,
  parseModelConfig,
  type TensorReader,
  type TensorSpec,
} from '@shoal/model';
import { openCheckpoint } from '@shoal/model/node';
import type { Llama } from 'node-llama-cpp';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { openLlamaCpp, startLlama } from '../llama/llama-cpp.ts';
import { fixtureDir } from './families.ts';
import { ggufConfigs } from './gguf-configs.ts';
import { type FamilySource, writeFamilyGguf } from './gguf-family.ts';

// Random models written as llama.cpp's converters write them. What is read from them must be what was written, bit for bit, and
// llama.cpp, an independent reader and an independent model, must compute the same distributions.

const NUM_TOKENS = 24;

let dir: string;
let llama: Llama;

beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), 'shoal-gguf-'));
  llama = await startLlama(1);
});
afterAll(async () => {
  await llama?.dispose();
  await rm(dir, { recursive: true, force: true });
});

/** Weights that keep activations of order 1, so that attention, gate and head all matter. */
function randomWeight({ name, shape }: TensorSpec): Promise<Float32Array> {
  const seed = [...name].reduce((hash, char) => (hash * 31 + char.charCodeAt(0)) % 1_000_003, 7);
  const rng = createRng(seed);
  const fanIn = Math.sqrt(shape.at(-1)!);
  const [mean, scale] = /norm/.test(name)
    ? [1, 0.2]
    : /bias|sinks/.test(name)
      ? [0, 0.5]
      : /embed_tokens/.test(name)
        ? [0, 1]
        : [0, (/lm_head|o_proj/.test(name) ? 3 : 1.4) / fanIn];
  const length = shape.reduce((a, b) => a * b, 1);
  // Uniform with a variance of 1.
  return Promise.resolve(Float32Array.from({ length }, () => mean + scale * Math.sqrt(3) * (2 * rng() - 1)));
}

function sourceOf(name: string): FamilySource {
  const raw = ggufConfigs[name]!;
  return { config: parseModelConfig(raw, name), raw, tokenizerDir: fixtureDir('mixtral'), read: randomWeight };
}

interface Run {
  logits: Float32Array[];
  /** The experts of every gate, ascending within a row. */
  chosen: string;
}

/** A model, ready to run sequences. */
async function runnerOf(reader: TensorReader, config: ModelConfig): Promise<(ids: readonly number[]) => Promise<Run>> {
  const engine = createReferenceEngine({ config, weights: await loadDenseWeights(config, reader) });
  const load = (layer: number, expert: number) => loadExpert(config, reader, layer, expert);
  const experts = new LocalExperts(config, load, { maxBytes: 1 << 26 });
  const k = config.numExpertsPerTok;
  return async (ids) => {
    const cache = engine.newSequence();
    const rows = ids.map((tokenId, position) => ({ tokenId, position, cache, wantLogits: true }));
    const chosen: number[] = [];
    const { logits } = await engine.forward(rows, experts, {
      gate: (_, topkIdx) => {
        for (let r = 0; r < ids.length; r++)
          chosen.push(...[...topkIdx.subarray(r * k, r * k + k)].sort((a, b) => a - b));
      },
    });
    cache.free();
    return { logits: logits.map((row) => row!), chosen: chosen.join() };
  };
}

/** Changes what the cache will hold by about ten times as much as rounding it to f16 does, in a direction or its opposite. */
const disturbed = (sign: 1 | -1): TensorReader => ({
  read: async (spec) => {
    const values = await randomWeight(spec);
    if (!/\.(k_proj|v_proj|kv_a_proj_with_mqa)\./.test(spec.name)) return values;
    const rng = createRng(3);
    return values.map((value) => value * (1 + sign * 3e-3 * (2 * rng() - 1)));
  },
});

const MAX_TRIES = 60;

/**
 * Ids for which no gate's choice hangs on the last bits of the cache, which llama.cpp keeps in f16: where one does, another
 * expert is chosen, and all that follows differs. Judged by our own model alone.
 */
async function steadyRun(
  reader: TensorReader,
  { config }: FamilySource,
): Promise<{ ids: number[]; logits: Float32Array[] }> {
  const run = await runnerOf(reader, config);
  const [oneWay, otherWay] = [await runnerOf(disturbed(1), config), await runnerOf(disturbed(-1), config)];
  const rng = createRng(5);
  for (let i = 0; i < MAX_TRIES; i++) {
    const ids = Array.from({ length: NUM_TOKENS }, () => 4 + Math.floor(rng() * 100));
    const { logits, chosen } = await run(ids);
    if ((await oneWay(ids)).chosen === chosen && (await otherWay(ids)).chosen === chosen) return { ids, logits };
  }
  throw new Error(`none of ${MAX_TRIES} sequences has steady gates`);
}

/** Σ p ln(p / q), in nats. */
function divergence(logits: Float32Array, q: Float32Array): number {
  const top = logits[argmax(logits)]!;
  const sum = logits.reduce((total, logit) => total + Math.exp(logit - top), 0);
  return logits.reduce((total, logit, i) => {
    const p = Math.exp(logit - top) / sum;
    return p < 1e-30 ? total : total + p * Math.log(p / q[i]!);
  }, 0);
}

describe('a GGUF file of llama.cpp', () => {
  it.each(Object.keys(ggufConfigs))(
    '%s: the same config, the same weights, and the logits of llama.cpp',
    async (name) => {
      const source = sourceOf(name);
      const path = join(dir, `${name.replaceAll(' ', '-')}.gguf`);
      await writeFamilyGguf(source, path);
      const checkpoint = await openCheckpoint(path);
      try {
        checkpoint.check();
        expect(checkpoint.config).toEqual(source.config);
        const { config } = source;
        const experts = moeLayers(config).map((layer) => expertTensors(config, layer, config.nRoutedExperts - 1));
        for (const spec of [...listDenseTensors(config), ...listTensorSpecs(experts)]) {
          const [read, written] = [await checkpoint.read(spec), await randomWeight(spec)];
          expect(read, spec.name).toEqual(written);
          const row = Math.floor(spec.shape[0]! / 2);
          const rowLength = written.length / spec.shape[0]!;
          const some = await checkpoint.readRows(spec, row, spec.shape[0]! - row);
          expect(some, spec.name).toEqual(written.subarray(row * rowLength));
        }
        const { ids, logits: ours } = await steadyRun(checkpoint, source);
        const theirs = await openLlamaCpp(path, { contextSize: 64, threads: 1, llama });
        try {
          const rows = await theirs.probabilities(ids);
          const worst = Math.max(...ours.map((row, i) => divergence(row, rows[i]!)));
          // llama.cpp's cache holds f16.
          expect(worst).toBeLessThan(2e-4);
        } finally {
          await theirs.close();
        }
      } finally {
        await checkpoint.close();
      }
    },
  );
});

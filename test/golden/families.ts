import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import {
  createReferenceEngine,
  expertLayers,
  loadDenseWeights,
  loadExpert,
  LocalExperts,
  moeLayers,
  parseHeader,
  PREFIX_BYTES,
  readHeaderLength,
  toFloat32,
  type ForwardEngine,
  type ModelConfig,
  type Tokenizer,
} from '@shoal/model';
import { loadTokenizer, openCheckpoint } from '@shoal/model/node';

const fixtures = join(import.meta.dirname, 'fixtures/families');

/** Names of the fixtures: small random checkpoints with transformers' results (make/families/README.md). */
export const familyFixtures: readonly string[] = readdirSync(fixtures).sort();

/** Those that are packed and served in tests: one for each way in which tensors are stored, and each kind of expert. */
export const tabFixtures: readonly string[] = [
  'deepseek-v2-lite',
  'deepseek-v3-fp8',
  'ernie4-5-moe',
  'glm4-moe',
  'gpt-oss',
  'gpt-oss-mxfp4',
  'granitemoe',
  'kimi-k25',
  'llama4',
  'mixtral',
  'olmoe',
  'qwen2-moe',
  'qwen3-moe',
];

/** Those without experts. */
export const denseFixtures: readonly string[] = ['llama', 'llama-linear', 'qwen3'];

/** Those with an MTP module. */
export const mtpFixtures: readonly string[] = ['glm4-moe', 'glm4-moe-lite'];

export const fixtureDir = (name: string): string => join(fixtures, name);

/** fixtures/families/<name>/reference.json. */
export interface FamilyReference {
  about: string;
  /** Where transformers deviates from the published model and was replaced by it. */
  departures: string[];
  /** Token ids. */
  sequences: number[][];
  greedy: { prompt_ids: number[]; ids: number[]; logit_margin: number; gate_margin: number }[];
  perplexity: { text: string; tokens: number; nll: number };
}

export interface Family {
  name: string;
  config: ModelConfig;
  /** The reference forward. */
  engine: ForwardEngine;
  tokenizer: Tokenizer;
  experts: LocalExperts;
  reference: FamilyReference;
  /** [all sequences' tokens, vocabSize] */
  logits: Float32Array;
  /** [moeLayers, all sequences' tokens, numExpertsPerTok], ascending; empty without experts. */
  chosen: Float32Array;
  /** [moeLayers, all sequences' tokens, numExpertsPerTok], in the order of `chosen`. */
  weights: Float32Array;
  /** [first sequence's tokens − 1, vocabSize], of the MTP module; undefined where the fixture has none. */
  mtpLogits: Float32Array | undefined;
}

/** Every weight of a fixture fits in memory. */
const EXPERT_BYTES = 64 * 1024 * 1024;

export async function openFamily(name: string): Promise<Family> {
  const dir = fixtureDir(name);
  const checkpoint = await openCheckpoint(dir);
  try {
    const { config } = checkpoint;
    const engine = createReferenceEngine({ config, weights: await loadDenseWeights(config, checkpoint) });
    const all = new Map<string, ReturnType<typeof loadExpert>>();
    for (const layer of expertLayers(config)) {
      for (let expert = 0; expert < config.nRoutedExperts; expert++) {
        const weights = await loadExpert(config, checkpoint, layer, expert);
        all.set(`${layer}/${expert}`, Promise.resolve(weights));
      }
    }
    const load = (layer: number, expert: number) => all.get(`${layer}/${expert}`)!;
    const experts = new LocalExperts(config, load, { maxBytes: EXPERT_BYTES });
    const read = readTensors(join(dir, 'reference.safetensors'));
    const readChoice = (key: string) => (denseFixtures.includes(name) ? new Float32Array() : read(key));
    return {
      name,
      config,
      engine,
      experts,
      tokenizer: await loadTokenizer(dir),
      reference: JSON.parse(readFileSync(join(dir, 'reference.json'), 'utf8')) as FamilyReference,
      logits: read('logits'),
      chosen: readChoice('experts'),
      weights: readChoice('weights'),
      mtpLogits: mtpFixtures.includes(name) ? read('mtp_logits') : undefined,
    };
  } finally {
    await checkpoint.close();
  }
}

/** Reads a file of a few tensors. */
export function readTensors(path: string): (name: string) => Float32Array {
  const file = readFileSync(path);
  const headerBytes = readHeaderLength(file.subarray(0, PREFIX_BYTES), file.byteLength, path);
  const table = parseHeader(file.subarray(PREFIX_BYTES, PREFIX_BYTES + headerBytes), file.byteLength, path);
  return (name) => {
    const { offset, bytes, dtype } = table.get(name)!;
    return toFloat32(file.subarray(offset, offset + bytes), dtype);
  };
}

/** What one pass over all of a fixture's sequences gave, in the order of the reference. */
export interface FamilyRun {
  /** [all tokens, vocabSize] */
  logits: Float32Array;
  /** [moeLayers, all tokens, numExpertsPerTok], experts ascending. */
  chosen: Float32Array;
  weights: Float32Array;
}

/** A pass's rows: which token of which sequence. Positions of a sequence must come in order over all passes. */
export type Schedule = { sequence: number; position: number }[][];

/** Run the sequences in the given passes on an engine of the fixture's model. */
export async function runFamily(family: Family, schedule: Schedule, engine = family.engine): Promise<FamilyRun> {
  const { config, experts, reference } = family;
  const { vocabSize, numExpertsPerTok: k } = config;
  const starts: number[] = [];
  let total = 0;
  for (const ids of reference.sequences) {
    starts.push(total);
    total += ids.length;
  }
  const layers = moeLayers(config);
  const run: FamilyRun = {
    logits: new Float32Array(total * vocabSize),
    chosen: new Float32Array(layers.length * total * k),
    weights: new Float32Array(layers.length * total * k),
  };
  const caches = reference.sequences.map(() => engine.newSequence());
  for (const pass of schedule) {
    const rows = pass.map(({ sequence, position }) => {
      const tokenId = reference.sequences[sequence]![position]!;
      return { tokenId, position, cache: caches[sequence]!, wantLogits: true };
    });
    const place = pass.map(({ sequence, position }) => starts[sequence]! + position);
    const { logits } = await engine.forward(rows, experts, {
      gate: (layer, topkIdx, topkWeights) => {
        const l = layers.indexOf(layer);
        for (const [r, at] of place.entries()) {
          const slots = Array.from({ length: k }, (_, i) => r * k + i).sort((a, b) => topkIdx[a]! - topkIdx[b]!);
          for (const [i, slot] of slots.entries()) {
            run.chosen[(l * total + at) * k + i] = topkIdx[slot]!;
            run.weights[(l * total + at) * k + i] = topkWeights[slot]!;
          }
        }
      },
    });
    for (const [r, at] of place.entries()) run.logits.set(logits[r]!, at * vocabSize);
  }
  for (const cache of caches) cache.free();
  return run;
}

/** The MTP module's logits along the first sequence: at i those of token i + 2. */
export async function runMtp({ experts, reference, config }: Family, engine: ForwardEngine): Promise<Float32Array> {
  const ids = reference.sequences[0]!;
  const [main, mtp] = [engine.newSequence(), engine.newMtpSequence()];
  const { hidden } = await engine.forward(
    ids.map((tokenId, position) => ({ tokenId, position, cache: main })),
    experts,
  );
  const { hiddenSize, vocabSize } = config;
  const rows = ids.slice(1).map((nextTokenId, position) => {
    const own = hidden.subarray(position * hiddenSize, (position + 1) * hiddenSize);
    return { hidden: own, nextTokenId, position, cache: mtp, wantLogits: true };
  });
  const { logits } = await engine.forwardMtp(rows, experts);
  for (const cache of [main, mtp]) cache.free();
  const all = new Float32Array(rows.length * vocabSize);
  for (const [i, row] of logits.entries()) all.set(row!, i * vocabSize);
  return all;
}

/** One sequence after the other, `chunkRows` tokens at a time. */
export function inChunks({ reference }: Family, chunkRows: number): Schedule {
  return reference.sequences.flatMap((ids, sequence) =>
    Array.from({ length: Math.ceil(ids.length / chunkRows) }, (_, chunk) =>
      Array.from({ length: Math.min(chunkRows, ids.length - chunk * chunkRows) }, (_, i) => ({
        sequence,
        position: chunk * chunkRows + i,
      })),
    ),
  );
}

/**
 * All sequences in one batch, with different starts and paces (1, 5, 9, … tokens a pass), so that prefill and decode
 * rows of ragged lengths meet.
 */
export function ragged({ reference }: Family): Schedule {
  const schedule: Schedule = [];
  const done = reference.sequences.map(() => 0);
  for (let pass = 0; done.some((count, s) => count < reference.sequences[s]!.length); pass++) {
    const rows: Schedule[number] = [];
    for (const [sequence, ids] of reference.sequences.entries()) {
      const pace = pass < 2 * sequence ? 0 : 1 + 4 * sequence;
      for (let i = 0; i < pace && done[sequence]! < ids.length; i++)
        rows.push({ sequence, position: done[sequence]!++ });
    }
    schedule.push(rows);
  }
  return schedule;
}

import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import {
  answerOf,
  createReferenceSeq2Seq,
  type ExpertDispatch,
  type ForwardEngine,
  type ForwardObserver,
  loadExpert,
  loadSeq2SeqWeights,
  LocalExperts,
  type ModelConfig,
  type Seq2SeqModel,
  type SequenceCache,
} from '@shoal/model';
import { type Checkpoint, openCheckpoint } from '@shoal/model/node';
import { readTensors } from './families.ts';

const FIXTURES = join(import.meta.dirname, 'fixtures/seq2seq');

/** Names of the fixtures: small random encoder–decoders with transformers' results (make/seq2seq/make.py). */
export const seq2seqFixtures: readonly string[] = readdirSync(FIXTURES).sort();

export const seq2seqDir = (name: string): string => join(FIXTURES, name);

/** fixtures/seq2seq/<name>/reference.json. */
export interface Seq2SeqReference {
  about: string;
  /** Choices that the encoder's gates have dropped in all sources. */
  dropped: number;
  /** Token ids of sources, and of a target of each. */
  sources: number[][];
  targets: number[][];
  greedy: { source: number[]; ids: number[]; logit_margin: number; gate_margin: number }[];
  texts: { text: string; ids: number[]; decoded: string }[];
  /** A source text's ids in each language; of NLLB only. */
  translated?: { language: string; text: string; ids: number[] }[];
  /** Rows of the table of positions, with padding at 1; of NLLB only. */
  sinusoids?: { place: number; values: number[] }[];
  /** Buckets of the distances −400 to 400, as runs of [bucket, length]; of Switch only. */
  buckets?: { buckets: number; maxDistance: number; bothWays: boolean; of: [number, number][] }[];
}

export interface Seq2Seq {
  checkpoint: Checkpoint;
  config: ModelConfig;
  /** What the reference engine computes. */
  model: Seq2SeqModel;
  /** The reference engine. */
  engine: ForwardEngine;
  experts: LocalExperts;
  reference: Seq2SeqReference;
  /** By sources' rows: [rows, hiddenSize], the encoder's last ones. */
  encoder: Float32Array;
  /** [MoE layers of the encoder, rows of sources, k], experts kept, ascending; −1 for each that was dropped. */
  chosen: Float32Array;
  weights: Float32Array;
  /** By targets' rows: [rows, hiddenSize] and [rows, vocabSize]. */
  hidden: Float32Array;
  logits: Float32Array;
}

/** Every weight of a fixture fits in memory. */
const EXPERT_BYTES = 64 * 1024 * 1024;

export async function openSeq2Seq(name: string): Promise<Seq2Seq> {
  const dir = seq2seqDir(name);
  const checkpoint = await openCheckpoint(dir);
  checkpoint.check();
  const { config } = checkpoint;
  const model = { config, weights: await loadSeq2SeqWeights(config, checkpoint) };
  const load = (layer: number, expert: number) => loadExpert(config, checkpoint, layer, expert);
  const read = readTensors(join(dir, 'reference.safetensors'));
  return {
    checkpoint,
    config,
    model,
    engine: createReferenceSeq2Seq(model),
    experts: new LocalExperts(config, load, { maxBytes: EXPERT_BYTES }),
    reference: JSON.parse(readFileSync(join(dir, 'reference.json'), 'utf8')) as Seq2SeqReference,
    encoder: read('encoder'),
    chosen: read('experts'),
    weights: read('weights'),
    hidden: read('hidden'),
    logits: read('logits'),
  };
}

/** Sequences whose source is encoded, all in one pass. Throws what a source can't be encoded for. */
export async function encoded(
  engine: ForwardEngine,
  experts: ExpertDispatch,
  sources: readonly (readonly number[])[],
  observe?: ForwardObserver,
): Promise<SequenceCache[]> {
  const all = sources.map((ids) => ({ ids, cache: engine.newSequence() }));
  const { faults } = await engine.encodeSources!(all, experts, observe);
  const fault = faults?.find((error) => error !== undefined);
  if (fault) throw fault;
  return all.map(({ cache }) => cache);
}

/** An answer by the likeliest token at each step, after the target's prefix; ends with an end token or after `count`. */
export async function greedyIds(
  { config, experts }: Pick<Seq2Seq, 'config' | 'experts'>,
  engine: ForwardEngine,
  source: readonly number[],
  prefix: readonly number[],
  count: number,
): Promise<number[]> {
  const [cache] = await encoded(engine, experts, [source]);
  const ids = [...prefix];
  const query = { token: { temperature: 0, topP: 1, uniform: 0 } };
  while (ids.length < count && !config.eosTokenIds.includes(ids.at(-1)!)) {
    const computed = cache!.length - source.length;
    const rows = ids
      .slice(computed)
      .map((tokenId, i) => ({ tokenId, position: cache!.length + i, cache: cache!, query }));
    const { answers } = await engine.forward(rows, experts);
    ids.push(answerOf(answers, rows.length - 1).tokenId);
  }
  cache!.free();
  return ids;
}

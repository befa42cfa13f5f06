import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import {
  createReferenceEncoder,
  type ForwardEngine,
  loadEncoderWeights,
  loadExpert,
  LocalExperts,
  type ModelConfig,
} from '@shoal/model';
import { type Checkpoint, openCheckpoint } from '@shoal/model/node';
import { readTensors } from './families.ts';

/** Small random encoders with an independent implementation's results (make/encoders and make/sequence_gates). */
const ENCODERS_DIR = join(import.meta.dirname, 'fixtures/encoders');
export const ENCODER_DIR = join(ENCODERS_DIR, 'nomic-bert-moe');

/** One for each gate that looks at a whole sequence; they have no tokenizer. */
export const sequenceGateEncoders = readdirSync(ENCODERS_DIR)
  .filter((name) => name.startsWith('shoal-bert-'))
  .map((name) => join(ENCODERS_DIR, name));

export interface Encoder {
  checkpoint: Checkpoint;
  config: ModelConfig;
  /** The reference engine. */
  engine: ForwardEngine;
  experts: LocalExperts;
  /** None without a tokenizer. */
  texts: readonly string[];
  /** The texts' tokens. */
  sequences: number[][];
  dimensions: number;
  /** [rows of all sequences, hiddenSize] */
  hidden: Float32Array;
  /** [texts, hiddenSize], and [texts, dimensions]: normalised. */
  embeddings: Float32Array;
  short: Float32Array;
}

/** Every weight of the fixture fits in memory. */
const EXPERT_BYTES = 64 * 1024 * 1024;

/** The small encoders of this repository, of each gate that looks at a whole sequence. */
export const storyEncoders = ['stories-expert-choice', 'stories-soft'].map((name) =>
  join(import.meta.dirname, '../../models', name),
);

/** An encoder on the reference engine. */
export async function openEncoderModel(
  dir: string,
): Promise<Pick<Encoder, 'checkpoint' | 'config' | 'engine' | 'experts'>> {
  const checkpoint = await openCheckpoint(dir);
  checkpoint.check();
  const { config } = checkpoint;
  const engine = createReferenceEncoder({ config, weights: await loadEncoderWeights(config, checkpoint) });
  const load = (layer: number, expert: number) => loadExpert(config, checkpoint, layer, expert);
  return { checkpoint, config, engine, experts: new LocalExperts(config, load, { maxBytes: EXPERT_BYTES }) };
}

export async function openEncoder(dir = ENCODER_DIR): Promise<Encoder> {
  const reference = JSON.parse(readFileSync(join(dir, 'reference.json'), 'utf8')) as Pick<
    Encoder,
    'sequences' | 'dimensions'
  > & { texts?: readonly string[] };
  const tensor = readTensors(join(dir, 'reference.safetensors'));
  const tensors = { hidden: tensor('hidden'), embeddings: tensor('embeddings'), short: tensor('short') };
  return { ...(await openEncoderModel(dir)), texts: [], ...reference, ...tensors };
}

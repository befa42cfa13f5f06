import { readFileSync } from 'node:fs';
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

/** A small random encoder with an independent implementation's results (make/encoders/make.py). */
export const ENCODER_DIR = join(import.meta.dirname, 'fixtures/encoders/nomic-bert-moe');

export interface Encoder {
  checkpoint: Checkpoint;
  config: ModelConfig;
  /** The reference engine. */
  engine: ForwardEngine;
  experts: LocalExperts;
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

export async function openEncoder(): Promise<Encoder> {
  const checkpoint = await openCheckpoint(ENCODER_DIR);
  checkpoint.check();
  const { config } = checkpoint;
  const engine = createReferenceEncoder({ config, weights: await loadEncoderWeights(config, checkpoint) });
  const load = (layer: number, expert: number) => loadExpert(config, checkpoint, layer, expert);
  const experts = new LocalExperts(config, load, { maxBytes: EXPERT_BYTES });
  const reference = JSON.parse(readFileSync(join(ENCODER_DIR, 'reference.json'), 'utf8')) as Pick<
    Encoder,
    'texts' | 'sequences' | 'dimensions'
  >;
  const tensor = readTensors(join(ENCODER_DIR, 'reference.safetensors'));
  const tensors = { hidden: tensor('hidden'), embeddings: tensor('embeddings'), short: tensor('short') };
  return { checkpoint, config, engine, experts, ...reference, ...tensors };
}

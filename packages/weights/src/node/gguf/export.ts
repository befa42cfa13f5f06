import { dirname, join, resolve } from 'node:path';
import { loadTokenizer, readJson, readModelConfig } from '@shoal/model/node';
import { WeightsError } from '../../errors.ts';
import { freeBytesOf } from '../files.ts';
import { type SourceOrDir, sourceOf } from '../source/open-source.ts';
import { deepseek2Metadata } from './deepseek2.ts';
import { deepseek2Tensors } from './deepseek2-tensors.ts';
import { encodedBytes, type GgufType } from './format.ts';
import { tokenizerMetadata } from './tokenizer.ts';
import { type GgufProgress, type GgufValue, writeGguf } from './writer.ts';

export type ExportOptions = ExportSettings & SourceOrDir;

interface ExportSettings {
  /** The file to write; replaced when the new one is complete. */
  out: string;
  /** Type of matrices; norms, gates and biases are f32. */
  type: GgufType;
  onProgress?: (progress: GgufProgress) => void;
  signal?: AbortSignal;
}

/** Room for a header with a vocabulary of 150,000 tokens. */
const SPARE_BYTES = 16 * 1024 * 1024;

/**
 * What a GGUF file says of a model besides its weights: hyperparameters and tokenizer, from the directory with the small files.
 * Throws WeightsError `bad-model` for a model that cannot be exported.
 */
export async function exportMetadata(metaDir: string, name: string): Promise<Map<string, GgufValue>> {
  const configPath = join(metaDir, 'config.json');
  const config = await readModelConfig(configPath);
  const hyperparameters = deepseek2Metadata(config, await readJson(configPath), name);
  const { addBosToken } = await loadTokenizer(metaDir);
  const tokenizer = tokenizerMetadata(await readJson(join(metaDir, 'tokenizer.json')), {
    vocabSize: config.vocabSize,
    bosTokenId: config.bosTokenId,
    eosTokenId: config.eosTokenIds[0]!,
    addBosToken,
  });
  return new Map([...hyperparameters, ...tokenizer]);
}

/**
 * Writes a checkpoint as a GGUF file that llama.cpp loads as `deepseek2`. What cannot be exported is refused before weights are
 * fetched. Throws WeightsError (`bad-model`, `disk-full`, `aborted`, `bad-weight`, `bad-shape`) or the source's or checkpoint's
 * error, and then leaves no incomplete file at `out`.
 */
export async function exportGguf(options: ExportOptions): Promise<void> {
  const { out, type, onProgress, signal } = options;
  const source = sourceOf(options);
  const metaDir = await source.metaDir();
  if (metaDir === undefined) {
    throw new WeightsError(
      'bad-model',
      `${source.spec} is a GGUF file already: give the checkpoint that it was made of`,
    );
  }
  const metadata = await exportMetadata(metaDir, source.modelId);
  const checkpoint = await source.open();
  try {
    const tensors = deepseek2Tensors(checkpoint.config, checkpoint, type);
    const bytes = tensors.reduce((sum, tensor) => sum + encodedBytes(tensor.type, product(tensor.shape)), SPARE_BYTES);
    const free = await freeBytesOf(dirname(resolve(out)));
    if (free < bytes) {
      const problem = `${out} needs ${bytes} bytes, but its disk has ${free} free`;
      throw new WeightsError('disk-full', `${problem}; choose another place`);
    }
    await writeGguf(out, { metadata, tensors }, { ...(onProgress && { onProgress }), signal });
  } finally {
    await checkpoint.close();
  }
}

const product = (shape: readonly number[]): number => shape.reduce((a, b) => a * b, 1);

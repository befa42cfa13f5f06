import { join } from 'node:path';
import { SafetensorsCheckpoint } from '../checkpoint.ts';
import { CheckpointError } from '../errors.ts';
import { readJson } from '../json-file.ts';
import type { TensorReader } from '../weights.ts';
import { openWeightFiles, type WeightFiles } from '../weight-files.ts';
import { DraftVocabulary } from './draft-vocabulary.ts';
import type { HeadConfig } from './head-config.ts';
import { listHeadTensors } from './head-tensors.ts';
import { type HeadTarget, type ParsedHead, parseHeadConfig } from './parse-head-config.ts';

/** A head's files, open for reading. */
export interface OpenHead {
  config: HeadConfig;
  vocabulary: DraftVocabulary;
  /** The name of the model that it was trained for, where it says. */
  trainedFor: string | undefined;
  reader: TensorReader;
  close(): Promise<void>;
}

const EMBEDDING = 'embed_tokens.weight';
const OUTPUT = 'lm_head.weight';
/** Tokens as differences from the head's own numbers, and whether the head has each of the target's. */
const [DIFFERENCES, IS_KNOWN] = ['d2t', 't2d'];
/** The two maps, and what some tools store of the target for training. */
const OTHERS = [DIFFERENCES, IS_KNOWN, 'verifier_norm.weight', 'verifier_lm_head.weight'];

/**
 * Opens a directory with a head that drafts for `target`: config.json and safetensors. Checks that every tensor is there in the right
 * shape, and no other. Throws a ModelError or CheckpointError that says what is wrong, or what doesn't fit.
 */
export async function openHead(dir: string, target: HeadTarget): Promise<OpenHead> {
  const { config: stated, trainedFor } = await readHeadConfig(dir, target);
  const files = await openWeightFiles(dir);
  try {
    const config = withOwnEnds(stated, files);
    const checkpoint = new SafetensorsCheckpoint(dir, config.transformer, without(files, OTHERS));
    const vocabulary = new DraftVocabulary(await readTokens(config, files));
    checkpoint.check(listHeadTensors(config));
    return { config, vocabulary, trainedFor, reader: checkpoint, close: () => files.close() };
  } catch (error) {
    await files.close();
    throw error;
  }
}

/** Reads a head's config.json, which may be there alone. Throws a ModelError. */
export async function readHeadConfig(dir: string, target: HeadTarget): Promise<ParsedHead> {
  const where = join(dir, 'config.json');
  return parseHeadConfig(await readJson(where), target, where);
}

/** The config with what the stored tensors say: an embedding or an output that isn't stored is the target's. */
function withOwnEnds(stated: HeadConfig, { tensors, listedIn }: WeightFiles): HeadConfig {
  const firstLayer = [...tensors.keys()].some((name) => name.startsWith('midlayer.')) ? 'midlayer.' : 'layers.0.';
  const stored = { firstLayer, embedding: tensors.has(EMBEDDING), output: tensors.has(OUTPUT) } as const;
  const { draftVocabSize, targetHiddenSize, transformer } = stated;
  const missing = (tensor: string, why: string): never => {
    throw new CheckpointError(
      'missing-tensor',
      listedIn,
      tensor,
      `is missing, and the model's cannot stand for it: ${why}`,
    );
  };
  const sizes = `the head's hidden states have ${transformer.hiddenSize} values, the model's ${targetHiddenSize}`;
  const isOtherSize = transformer.hiddenSize !== targetHiddenSize;
  if (!stored.embedding && isOtherSize) missing(EMBEDDING, sizes);
  if (!stored.output && isOtherSize) missing(OUTPUT, sizes);
  const isSmaller = draftVocabSize !== transformer.vocabSize;
  if (!stored.output && isSmaller)
    missing(OUTPUT, `the head has ${draftVocabSize} tokens of the model's ${transformer.vocabSize}`);
  return { ...stated, stored };
}

function without(files: WeightFiles, names: readonly string[]): WeightFiles {
  return {
    tensors: new Map([...files.tensors].filter(([name]) => !names.includes(name))),
    listedIn: files.listedIn,
    read: (...args) => files.read(...args),
    close: () => files.close(),
  };
}

/** The target's token of each of the head's; undefined where the head has all tokens. Throws a CheckpointError for an impossible map. */
async function readTokens(
  { draftVocabSize, transformer: { vocabSize } }: HeadConfig,
  files: WeightFiles,
): Promise<Int32Array | undefined> {
  const bad = (detail: string): CheckpointError =>
    new CheckpointError('contradiction', files.listedIn, DIFFERENCES, detail);
  const stored = files.tensors.get(DIFFERENCES);
  if (!stored) {
    if (draftVocabSize === vocabSize) return undefined;
    const detail = `is missing: the head has ${draftVocabSize} tokens, and only it says which of the model's ${vocabSize}`;
    throw new CheckpointError('missing-tensor', files.listedIn, DIFFERENCES, detail);
  }
  const { dtype, shape, bytes, offset } = stored.info;
  if ((dtype !== 'I64' && dtype !== 'I32') || shape.length !== 1 || shape[0] !== draftVocabSize)
    throw bad(
      `is ${dtype} [${shape.join(', ')}], but the head has ${draftVocabSize} tokens: expected I64 [${draftVocabSize}]`,
    );
  const raw = new Uint8Array(bytes);
  await files.read(stored.file, offset, raw, DIFFERENCES);
  const differences = [...(dtype === 'I64' ? new BigInt64Array(raw.buffer) : new Int32Array(raw.buffer))];
  const tokens = differences.map((difference, own) => own + Number(difference));
  const seen = new Set<number>();
  for (const [own, token] of tokens.entries()) {
    if (token < 0 || token >= vocabSize)
      throw bad(`maps the head's token ${own} to ${token}, but the model has ${vocabSize} tokens`);
    if (seen.has(token)) throw bad(`maps two of the head's tokens to ${token}`);
    seen.add(token);
  }
  return tokens.every((token, own) => token === own) ? undefined : Int32Array.from(tokens);
}

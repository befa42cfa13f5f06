import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { CheckpointError, type HeadConfig, messageOf, type ModelConfig, ModelError, withoutMtp } from '@shoal/model';
import { openHead, readHeadConfig, readModelConfig } from '@shoal/model/node';
import { type Formats, parseManifest } from '@shoal/weights';
import { HubError, HubSource, isPackedDir, type ModelSource } from '@shoal/weights/node';
import { UsageError } from '../base/usage-error.ts';
import { misfitOfConfig } from '../draft-model.ts';
import { requireTokenizer } from '../text/require-tokenizer.ts';
import type { CommandIo } from './command.ts';
import { openModelOption } from './model-option.ts';

/** What `shoal plan` knows of a model. */
export interface PlannedModel {
  config: ModelConfig;
  /** Those of a packed model. */
  own?: Formats;
  /** What a hub has of it, and what of that is not here. */
  weights?: HubWeights;
  /** Why its tokenizer cannot be read, so that the model cannot be served. */
  tokenizerProblem?: string;
}

export type HubWeights = NonNullable<Awaited<ReturnType<HubSource['weights']>>>;

const INDEX_FILE = 'model.safetensors.index.json';

/** Reads a model of any kind, or a bare config. Reads no weights, and fetches none. */
export async function readPlannedModel(
  options: { model: string; offline: boolean },
  io: CommandIo,
): Promise<PlannedModel> {
  const { model } = options;
  if (model.endsWith('.json')) return { config: await readModelConfig(model) };
  const source = await openModelOption(options, io);
  if (source.dir !== undefined && (await isPackedDir(source.dir))) return readPacked(source.dir);
  const dir = await source.metaDir();
  const tokenizerProblem = await requireTokenizer(source).then(() => undefined, problemOf);
  const weights = source instanceof HubSource ? await source.weights() : undefined;
  const index = dir === undefined ? undefined : await readIndex(dir);
  // Weights of a hub that are not known are out of reach, and the headers of its many files would be as many requests.
  const isFar = source instanceof HubSource && (weights === undefined || index !== undefined);
  return {
    config: (isFar ? undefined : await storedConfig(source, dir)) ?? (await indexedConfig(dir!, index)),
    ...(weights && { weights }),
    ...(tokenizerProblem !== undefined && { tokenizerProblem }),
  };
}

/** Reads what is known of a model that is to draft for another. Throws a UsageError where the configs show that it cannot. */
export async function readDraftModel(
  options: { model: string; offline: boolean },
  served: { modelId: string; config: ModelConfig },
  io: CommandIo,
): Promise<PlannedModel> {
  const model = await readPlannedModel(options, io);
  const misfit = misfitOfConfig(model.config, served);
  if (misfit !== undefined) throw new UsageError(`--draft-model ${options.model} ${misfit}`);
  return model;
}

/**
 * Reads the config of a head that is to draft for a model; of one that is here also which of its ends are stored. Fetches no weights.
 * Throws a UsageError where it does not fit.
 */
export async function readPlannedHead(
  { drafter, offline }: { drafter: string; offline: boolean },
  config: ModelConfig,
  io: CommandIo,
): Promise<HeadConfig> {
  const source = await openModelOption({ model: drafter, offline }, io);
  try {
    const dir = (await source.metaDir()) ?? (await source.weightsDir());
    if (source instanceof HubSource) return (await readHeadConfig(dir, config)).config;
    const head = await openHead(dir, config);
    await head.close();
    return head.config;
  } catch (error) {
    throw new UsageError(`--drafter ${drafter}: ${messageOf(error)}`, { cause: error });
  }
}

function problemOf(error: unknown): string {
  if (error instanceof ModelError) return messageOf(error);
  throw error;
}

async function readPacked(dir: string): Promise<PlannedModel> {
  const manifestPath = join(dir, 'manifest.json');
  const manifest = parseManifest(await readFile(manifestPath, 'utf8'), manifestPath);
  const config = await readModelConfig(join(dir, 'config.json'));
  return {
    config: manifest.numNextnPredictLayers === 0 ? withoutMtp(config) : config,
    own: { quant: manifest.shape.quant, denseQuant: manifest.dense.format },
  };
}

/** The config of the stored tensors, all of which are checked by their headers; undefined where the weights are not here. */
async function storedConfig(source: ModelSource, dir: string | undefined): Promise<ModelConfig | undefined> {
  try {
    const checkpoint = await (source instanceof HubSource ? source.openFew() : source.open());
    try {
      checkpoint.check();
      return checkpoint.config;
    } finally {
      await checkpoint.close();
    }
  } catch (error) {
    const isElsewhere =
      (error instanceof CheckpointError && error.reason === 'not-found') ||
      (error instanceof HubError && error.reason === 'offline');
    if (dir !== undefined && isElsewhere) return undefined;
    throw error;
  }
}

/** Only the index shows whether there is an MTP module. */
async function indexedConfig(dir: string, index: string | undefined): Promise<ModelConfig> {
  const config = await readModelConfig(join(dir, 'config.json'));
  const mtpPrefix = `"model.layers.${config.numHiddenLayers}.`;
  return index !== undefined && !index.includes(mtpPrefix) ? withoutMtp(config) : config;
}

const readIndex = (dir: string): Promise<string | undefined> =>
  readFile(join(dir, INDEX_FILE), 'utf8').catch(() => undefined);

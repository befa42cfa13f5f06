import { join } from 'node:path';
import { CheckpointError, messageOf, ModelError } from '../errors.ts';
import { readJson } from '../json-file.ts';
import type { ModelConfig } from '../model-config.ts';
import { openWeightFile, type WeightFile } from '../weight-files.ts';
import { parseAdapterConfig } from './adapter-config.ts';
import { AdapterError } from './adapter-error.ts';
import type { Adapter, AdapterTarget, ExpertAdapter, LowRank } from './adapter.ts';
import { ADAPTER_WEIGHTS_FILE, findPairs, type Pair, type Piece } from './find-pairs.ts';
import { isMixtureConfig, parseMixtureConfig } from './mixture-config.ts';
import { CLASSIFIER_FILES } from './read-classifier.ts';
import { foldersOf, readMixture } from './read-mixture.ts';
import { newValues, readTensor } from './read-tensor.ts';

export const ADAPTER_CONFIG_FILE = 'adapter_config.json';

/** What an adapter consists of besides its config, which is in `dir`: of each file, the names that it may have. */
export async function otherAdapterFiles(dir: string): Promise<(readonly string[])[]> {
  const json = await readJson(join(dir, ADAPTER_CONFIG_FILE));
  if (!isMixtureConfig(json)) return [[ADAPTER_WEIGHTS_FILE]];
  const { adapters } = parseMixtureConfig(json, ADAPTER_CONFIG_FILE);
  const inFolders = adapters.flatMap((adapter) =>
    [ADAPTER_CONFIG_FILE, ADAPTER_WEIGHTS_FILE].map((file) => foldersOf(adapter).map((folder) => `${folder}/${file}`)),
  );
  return [CLASSIFIER_FILES, ...inFolders];
}

/** An adapter, and the model that it says it was trained on. */
export interface ReadAdapter {
  adapter: Adapter;
  baseModel: string | null;
}

/**
 * Reads a LoRA adapter as PEFT saves it, or an X-LoRA mixture of some, for a model. Throws an AdapterError that names the file and
 * the key or tensor, before any tensor of an adapter is read if there are more than `maxBytes` of them as float32.
 */
export async function readAdapter(dir: string, config: ModelConfig, maxBytes: number): Promise<ReadAdapter> {
  try {
    const json = await readJson(join(dir, ADAPTER_CONFIG_FILE));
    if (!isMixtureConfig(json)) return await readLora(dir, json, config, maxBytes);
    const readOne = async (folder: string, room: number): Promise<Adapter> => {
      const own = await readJson(join(folder, ADAPTER_CONFIG_FILE));
      return (await readLora(folder, own, config, room)).adapter;
    };
    return await readMixture(dir, ADAPTER_CONFIG_FILE, { json, model: config, maxBytes, readOne });
  } catch (error) {
    if (error instanceof AdapterError) throw error;
    if (!(error instanceof ModelError || error instanceof CheckpointError)) throw error;
    throw new AdapterError('unreadable', messageOf(error), { cause: error });
  }
}

async function readLora(dir: string, json: unknown, config: ModelConfig, maxBytes: number): Promise<ReadAdapter> {
  const adapterConfig = parseAdapterConfig(json, ADAPTER_CONFIG_FILE);
  const file = await openWeightFile(dir, ADAPTER_WEIGHTS_FILE);
  try {
    const pairs = findPairs(file, adapterConfig, config);
    refuseLarge(pairs, maxBytes);
    return { adapter: await readPairs(file, pairs, config.numHiddenLayers), baseModel: adapterConfig.baseModel };
  } finally {
    await file.close();
  }
}

const bytesOf = (pairs: readonly Pair[]): number => pairs.reduce((sum, { bytes }) => sum + bytes, 0);

function refuseLarge(pairs: readonly Pair[], maxBytes: number): void {
  const bytes = bytesOf(pairs);
  if (bytes <= maxBytes) return;
  throw new AdapterError('too-large', `the adapter takes ${bytes} bytes, and there is room for ${maxBytes}`);
}

async function readPairs(file: WeightFile, pairs: readonly Pair[], numLayers: number): Promise<Adapter> {
  const layers: Partial<Record<AdapterTarget, LowRank>>[] = Array.from({ length: numLayers }, () => ({}));
  const experts = new Map<number, Map<number, { -readonly [Part in keyof ExpertAdapter]: ExpertAdapter[Part] }>>();
  for (const pair of pairs) {
    const a = await readTensor(file, pair.a, pair.isExperts);
    const b = await readTensor(file, pair.b);
    for (const piece of pair.pieces) {
      const { at } = piece;
      const matrices = matricesOf(pair, piece, a, b);
      if ('target' in at) {
        refuseTwice(layers[at.layer]![at.target], pair);
        layers[at.layer]![at.target] = matrices;
        continue;
      }
      const ofLayer = experts.get(at.layer) ?? new Map<number, ExpertAdapter>();
      experts.set(at.layer, ofLayer);
      refuseTwice(ofLayer.get(at.expert)?.[at.part], pair);
      ofLayer.set(at.expert, { ...ofLayer.get(at.expert), [at.part]: matrices });
    }
  }
  const expertBytes = bytesOf(pairs.filter(({ isExperts }) => isExperts));
  const maxRank = Math.max(...pairs.map(({ rank }) => rank));
  return { layers, experts, maxRank, bytes: bytesOf(pairs), expertBytes };
}

function refuseTwice(other: LowRank | undefined, { module }: Pair): void {
  if (!other) return;
  throw new AdapterError('bad-value', `${ADAPTER_WEIGHTS_FILE} changes ${module} twice, under two names`);
}

/** A piece's own rows of A, and its own part of B multiplied by the scale. */
function matricesOf(
  { rank, stacked, scale, isExperts }: Pair,
  { inDim, outDim, firstRowOfA, rows, columns }: Piece,
  a: Float32Array,
  b: Float32Array,
): LowRank {
  const own = newValues(outDim * rank, isExperts);
  for (let row = 0; row < outDim; row++) {
    const from = (rows.first + row * rows.step) * rank * stacked;
    for (let k = 0; k < rank; k++) own[row * rank + k] = b[from + columns.first + k * columns.step]! * scale;
  }
  return { rank, inDim, outDim, a: a.subarray(firstRowOfA * inDim, (firstRowOfA + rank) * inDim), b: own };
}

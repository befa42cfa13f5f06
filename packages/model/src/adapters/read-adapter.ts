import { join } from 'node:path';
import { CheckpointError, messageOf, ModelError } from '../errors.ts';
import { readJson } from '../json-file.ts';
import type { ModelConfig } from '../model-config.ts';
import { floatDtypes, toFloat32 } from '../safetensors.ts';
import { openWeightFile, type WeightFile } from '../weight-files.ts';
import { type AdapterConfig, parseAdapterConfig } from './adapter-config.ts';
import { AdapterError } from './adapter-error.ts';
import { type AdapterModule, adapterModules } from './adapter-modules.ts';
import { type Adapter, type AdapterLayer, type AdapterTarget, type LowRank } from './adapter.ts';

const ADAPTER_CONFIG_FILE = 'adapter_config.json';
const ADAPTER_WEIGHTS_FILE = 'adapter_model.safetensors';
/** What an adapter consists of. */
export const ADAPTER_FILES = [ADAPTER_CONFIG_FILE, ADAPTER_WEIGHTS_FILE];

/** An adapter, and the model that it says it was trained on. */
export interface ReadAdapter {
  adapter: Adapter;
  baseModel: string | null;
}

/**
 * Reads a LoRA adapter as PEFT saves it, for a model. Throws an AdapterError that names the file and the key or tensor, before any
 * tensor is read if there are more than `maxBytes` of them as float32.
 */
export async function readAdapter(dir: string, config: ModelConfig, maxBytes: number): Promise<ReadAdapter> {
  try {
    const adapterConfig = parseAdapterConfig(await readJson(join(dir, ADAPTER_CONFIG_FILE)), ADAPTER_CONFIG_FILE);
    const file = await openWeightFile(dir, ADAPTER_WEIGHTS_FILE);
    try {
      const pairs = findPairs(file, adapterConfig, adapterModules(config));
      refuseLarge(pairs, maxBytes);
      return { adapter: await readPairs(file, pairs, config.numHiddenLayers), baseModel: adapterConfig.baseModel };
    } finally {
      await file.close();
    }
  } catch (error) {
    if (error instanceof AdapterError) throw error;
    if (!(error instanceof ModelError || error instanceof CheckpointError)) throw error;
    throw new AdapterError('unreadable', messageOf(error), { cause: error });
  }
}

/** The two tensors of a module, and what they change. */
interface Pair {
  module: string;
  a: string;
  b: string;
  rank: number;
  scale: number;
  parts: readonly AdapterModule[];
}

const TENSOR = /^(?:base_model\.model\.)?(.+)\.lora_([AB])(?:\.default)?\.weight$/;

function findPairs(file: WeightFile, config: AdapterConfig, modules: ReadonlyMap<string, AdapterModule[]>): Pair[] {
  const found = new Map<string, Partial<Record<'A' | 'B', string>>>();
  for (const tensor of file.table.keys()) {
    const [, module, part] = TENSOR.exec(tensor) ?? [];
    if (module === undefined) throw unknownTensor(tensor);
    const pair = found.get(module) ?? {};
    pair[part as 'A' | 'B'] = tensor;
    found.set(module, pair);
  }
  if (found.size === 0) throw new AdapterError('bad-value', `${ADAPTER_WEIGHTS_FILE} has no tensors`);
  return [...found].map(([module, { A: a, B: b }]) => {
    if (a === undefined || b === undefined) {
      const [there, missing] = a === undefined ? ['lora_B', 'lora_A'] : ['lora_A', 'lora_B'];
      throw new AdapterError('bad-value', `${ADAPTER_WEIGHTS_FILE}: ${module} has a ${there} but no ${missing}`);
    }
    const parts = partsOf(module, modules);
    const rank = config.rankOf(module);
    checkShape(file, a, [rank, parts[0]!.inDim]);
    checkShape(file, b, [parts[0]!.moduleDim, rank]);
    return { module, a, b, rank, scale: config.scaleOf(module), parts };
  });
}

function unknownTensor(tensor: string): AdapterError {
  const problem = /lora_magnitude/.test(tensor)
    ? 'belongs to DoRA, which is not computed'
    : /lora_embedding/.test(tensor)
      ? 'changes an embedding, which is not computed'
      : 'is no lora_A or lora_B of a matrix';
  return new AdapterError('unsupported', `${ADAPTER_WEIGHTS_FILE}: tensor ${tensor} ${problem}`);
}

function partsOf(module: string, modules: ReadonlyMap<string, AdapterModule[]>): readonly AdapterModule[] {
  // A model that sees has the text model as a part.
  const inText = module.replace(/^(?:model\.)?language_model\.(?:model\.)?/, 'model.');
  const parts = modules.get(module) ?? modules.get(inText);
  if (parts) return parts;
  const what = `${ADAPTER_WEIGHTS_FILE} changes ${module}`;
  if (/\.experts(\.|$)/.test(module)) {
    throw new AdapterError('unsupported', `${what}: adapters of routed experts are not computed`);
  }
  if (/(^|\.)(lm_head|embed_tokens)$/.test(module)) {
    throw new AdapterError('unsupported', `${what}: adapters of the embedding and the output head are not computed`);
  }
  throw new AdapterError('other-model', `${what}, which this model does not have: it was made for another model`);
}

function checkShape({ table }: WeightFile, tensor: string, shape: readonly [number, number]): void {
  const info = table.get(tensor)!;
  const at = `${ADAPTER_WEIGHTS_FILE}: tensor ${tensor}`;
  if (!floatDtypes.includes(info.dtype)) {
    throw new AdapterError('unsupported', `${at} is ${info.dtype}; ${floatDtypes.join(', ')} are read`);
  }
  if (info.shape.length === 2 && info.shape.every((size, i) => size === shape[i])) return;
  throw new AdapterError(
    'other-model',
    `${at} is [${info.shape}], and this model and the adapter's rank need [${shape}]: it was made for another model`,
  );
}

function bytesOf(pairs: readonly Pair[]): number {
  return pairs
    .flatMap(({ rank, parts }) => parts.map(({ inDim, outDim }) => 4 * rank * (inDim + outDim)))
    .reduce((sum, bytes) => sum + bytes, 0);
}

function refuseLarge(pairs: readonly Pair[], maxBytes: number): void {
  const bytes = bytesOf(pairs);
  if (bytes <= maxBytes) return;
  throw new AdapterError('too-large', `the adapter takes ${bytes} bytes, and there is room for ${maxBytes}`);
}

async function readPairs(file: WeightFile, pairs: readonly Pair[], numLayers: number): Promise<Adapter> {
  const layers: Partial<Record<AdapterTarget, LowRank>>[] = Array.from({ length: numLayers }, () => ({}));
  for (const { module, a: aName, b: bName, rank, scale, parts } of pairs) {
    const a = await readMatrix(file, aName);
    const b = await readMatrix(file, bName);
    for (const { layer, target, inDim, outDim, rows } of parts) {
      if (layers[layer]![target]) {
        throw new AdapterError('bad-value', `${ADAPTER_WEIGHTS_FILE} changes ${module} twice, under two names`);
      }
      layers[layer]![target] = { rank, inDim, outDim, a, b: scaledRows(b, rank, outDim, rows, scale) };
    }
  }
  const maxRank = Math.max(...pairs.map(({ rank }) => rank));
  return { layers: layers satisfies AdapterLayer[], maxRank, bytes: bytesOf(pairs) };
}

async function readMatrix(file: WeightFile, tensor: string): Promise<Float32Array> {
  const { bytes, offset, dtype } = file.table.get(tensor)!;
  const raw = new Uint8Array(bytes);
  await file.read(offset, raw, tensor);
  const values = toFloat32(raw, dtype);
  if (values.every(Number.isFinite)) return values;
  throw new AdapterError('bad-value', `${ADAPTER_WEIGHTS_FILE}: tensor ${tensor} has NaN or ∞`);
}

/** Some rows of B [·, rank], multiplied by the scale. */
function scaledRows(
  b: Float32Array,
  rank: number,
  numRows: number,
  { first, step }: AdapterModule['rows'],
  scale: number,
): Float32Array {
  const out = new Float32Array(numRows * rank);
  for (let row = 0; row < numRows; row++) {
    const from = (first + row * step) * rank;
    for (let i = 0; i < rank; i++) out[row * rank + i] = b[from + i]! * scale;
  }
  return out;
}

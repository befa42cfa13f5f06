import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import { openWeightFile, type WeightFile } from '../weight-files.ts';
import { AdapterError } from './adapter-error.ts';
import { ADAPTER_WEIGHTS_FILE, checkDtype } from './find-pairs.ts';
import type { ClassifierLayer } from './adapter.ts';
import type { MixtureConfig } from './mixture-config.ts';
import { readTensor } from './read-tensor.ts';

/** As the package `xlora` names it; PEFT saves it as an adapter's weights. */
const CLASSIFIER_FILE = 'xlora_classifier.safetensors';
export const CLASSIFIER_FILES = [CLASSIFIER_FILE, ADAPTER_WEIGHTS_FILE];

/** It is computed on the calling thread: as many products take about 50 ms a row. */
const MAX_PRODUCTS = 64e6;
/** PEFT drops the number of the only layer if an adapter has that number as its name. */
const TENSOR = /^(?:.*internal_xlora_classifier\.)?(?:layers|inner)\.(?:(\d+)\.)?(weight|bias)$/;

/** Bytes of a mixture's classifier as float32, with that many outputs. */
export function classifierBytes(config: MixtureConfig, numOutputs: number): number {
  return shapesOf(config, numOutputs).reduce((sum, [outDim, inDim]) => sum + 4 * outDim * (inDim + 1), 0);
}

/** Reads the classifier of a mixture. Throws an AdapterError that names the tensor. */
export async function readClassifier(
  dir: string,
  config: MixtureConfig,
  numOutputs: number,
): Promise<ClassifierLayer[]> {
  const shapes = shapesOf(config, numOutputs);
  const products = shapes.reduce((sum, [outDim, inDim]) => sum + outDim * inDim, 0);
  if (products > MAX_PRODUCTS) {
    const problem = `the classifier takes ${products} products a row, and at most ${MAX_PRODUCTS} are computed`;
    throw new AdapterError('too-large', `${problem}: train one of a smaller xlora_depth or xlora_size`);
  }
  const name = await fileOf(dir);
  const file = await openWeightFile(dir, name);
  try {
    const layers: ClassifierLayer[] = [];
    const found = layersOf(file);
    if (found.length !== config.depth) {
      const problem = `xlora_depth is ${config.depth}, and ${name} has ${found.length} layers of the classifier`;
      throw new AdapterError('bad-value', `${problem}: the two are of different mixtures`);
    }
    for (const [i, { weight, bias }] of found.entries()) {
      const [outDim, inDim] = shapes[i]!;
      check(file, weight, [outDim, inDim]);
      check(file, bias, [outDim]);
      const values = { weight: await readTensor(file, weight), bias: await readTensor(file, bias) };
      layers.push({ inDim, outDim, ...values });
    }
    return layers;
  } finally {
    await file.close();
  }
}

async function fileOf(dir: string): Promise<string> {
  for (const name of CLASSIFIER_FILES) if (await stat(join(dir, name)).catch(() => undefined)) return name;
  const problem = `there is no ${CLASSIFIER_FILES.join(' and no ')}`;
  throw new AdapterError('unreadable', `${problem}: a mixture needs its classifier beside adapter_config.json`);
}

/** [outDim, inDim] of each layer. */
function shapesOf({ depth, width, hiddenSize }: MixtureConfig, numOutputs: number): [number, number][] {
  return Array.from({ length: depth }, (_, i) => [i === depth - 1 ? numOutputs : width, i === 0 ? hiddenSize : width]);
}

/** The tensors of each layer. ReLU and dropout have numbers too, so only the order of the numbers says which is which. */
function layersOf(file: WeightFile): { weight: string; bias: string }[] {
  const found = new Map<number, Partial<Record<'weight' | 'bias', string>>>();
  for (const tensor of file.table.keys()) {
    const [, number = '0', part] = TENSOR.exec(tensor) ?? [];
    if (part === undefined) {
      throw new AdapterError('unsupported', `${file.name}: tensor ${tensor} is no weight or bias of the classifier`);
    }
    found.set(Number(number), { ...found.get(Number(number)), [part]: tensor });
  }
  const inOrder = [...found].sort(([a], [b]) => a - b);
  return inOrder.map(([number, { weight, bias }]) => {
    if (weight !== undefined && bias !== undefined) return { weight, bias };
    const [there, missing] = weight === undefined ? ['bias', 'weight'] : ['weight', 'bias'];
    throw new AdapterError(
      'bad-value',
      `${file.name}: layer ${number} of the classifier has a ${there} but no ${missing}`,
    );
  });
}

function check(file: WeightFile, tensor: string, shape: readonly number[]): void {
  checkDtype(file, tensor);
  const own = file.table.get(tensor)!.shape;
  if (own.length === shape.length && own.every((size, i) => size === shape[i])) return;
  const problem = `${file.name}: tensor ${tensor} is [${own}], and adapter_config.json and the adapters need [${shape}]`;
  throw new AdapterError('bad-value', `${problem}: the classifier is another mixture's`);
}

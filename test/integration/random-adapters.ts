import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { createRng, normalDraw } from '@shoal/model';
import { serialise } from '../../packages/model/src/testing/quantised-fixtures.ts';

/** Of a matrix that is changed: its module's name, inputs and outputs. */
export type ChangedMatrix = readonly [module: string, inDim: number, outDim: number];

const RANK = 2;

/** Writes a random LoRA adapter. The larger the noise, the more it changes. */
export async function writeLora(dir: string, matrices: readonly ChangedMatrix[], noise: number, seed: number) {
  const random = randomTensors(seed);
  for (const [module, inDim, outDim] of matrices) {
    random.add(`base_model.model.${module}.lora_A.weight`, [RANK, inDim], noise);
    random.add(`base_model.model.${module}.lora_B.weight`, [outDim, RANK], noise);
  }
  await write(dir, { peft_type: 'LORA', r: RANK, lora_alpha: RANK }, 'adapter_model.safetensors', random.bytes());
}

export interface RandomMixture {
  hiddenSize: number;
  /** Of each of its adapters. */
  adapters: readonly (readonly ChangedMatrix[])[];
  noise: number;
  /** More keys of adapter_config.json. */
  config?: object;
}

/** Writes a random X-LoRA mixture, whose scalings differ by token. */
export async function writeMixture(dir: string, { hiddenSize, adapters, noise, config = {} }: RandomMixture) {
  const random = randomTensors(1);
  random.add('layers.0.weight', [adapters.length, hiddenSize], 0.3);
  random.add('layers.0.bias', [adapters.length], 0.3);
  const names = adapters.map((_, i) => [String(i), `./${i}`] as const);
  const own = { peft_type: 'XLORA', hidden_size: hiddenSize, adapters: Object.fromEntries(names), ...config };
  await write(dir, own, 'xlora_classifier.safetensors', random.bytes());
  for (const [i, matrices] of adapters.entries()) await writeLora(join(dir, String(i)), matrices, noise, 10 + i);
}

async function write(dir: string, config: object, file: string, bytes: Uint8Array): Promise<void> {
  await mkdir(dir, { recursive: true });
  await writeFile(join(dir, 'adapter_config.json'), JSON.stringify(config));
  await writeFile(join(dir, file), bytes);
}

function randomTensors(seed: number) {
  const rng = createRng(seed);
  const tensors = new Map<string, { dtype: 'F32'; shape: number[]; bytes: Uint8Array }>();
  return {
    add: (name: string, shape: number[], noise: number): void => {
      const length = shape.reduce((product, size) => product * size, 1);
      const values = Float32Array.from({ length }, () => noise * normalDraw(rng));
      tensors.set(name, { dtype: 'F32', shape, bytes: new Uint8Array(values.buffer) });
    },
    bytes: (): Uint8Array => serialise(tensors),
  };
}

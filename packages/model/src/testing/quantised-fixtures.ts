import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { checkpointOf, type SafetensorsCheckpoint } from '../checkpoint.ts';
import { parseModelConfig } from '../config.ts';
import { CheckpointError } from '../errors.ts';
import { parseHeader, PREFIX_BYTES, readHeaderLength, type TensorDtype, toFloat32 } from '../safetensors.ts';
import { TensorSpec } from '../tensors.ts';
import type { WeightFiles } from '../weight-files.ts';
import { smallConfigJson } from './small-model.ts';

const dir = join(import.meta.dirname, '../../../../test/golden/fixtures/quantised');

export interface StoredTensor {
  dtype: TensorDtype;
  shape: readonly number[];
  bytes: Uint8Array;
}

/** A matrix as a quantiser stores it, and the weights that its library dequantises it to. */
export interface QuantisedCase {
  name: string;
  quantisation: Record<string, unknown>;
  /** [rows, cols], after the size of the stack where there is one. */
  shape: readonly number[];
  tensors: ReadonlyMap<string, StoredTensor>;
  /** [...shape] */
  expected: Float32Array;
}

/** Those of test/golden/make/quantised. */
export function readQuantisedCases(): QuantisedCase[] {
  const [stored, expected] = ['stored', 'expected'].map((name) => readTensors(`${name}.safetensors`)) as [
    Map<string, StoredTensor>,
    Map<string, StoredTensor>,
  ];
  const cases = JSON.parse(readFileSync(join(dir, 'cases.json'), 'utf8')) as Record<string, { shape: number[] }>;
  return Object.entries(cases).map(([name, { shape, ...rest }]) => ({
    name,
    shape,
    quantisation: (rest as { quantization_config: Record<string, unknown> }).quantization_config,
    tensors: new Map([...stored].filter(([tensor]) => tensor.startsWith(`${name}.`))),
    expected: toFloat32(expected.get(name)!.bytes, 'F32'),
  }));
}

function readTensors(name: string): Map<string, StoredTensor> {
  const bytes = readFileSync(join(dir, name));
  const table = tableOf(bytes);
  return new Map(
    [...table].map(([tensor, { dtype, shape, offset, bytes: size }]) => [
      tensor,
      { dtype, shape, bytes: new Uint8Array(bytes.subarray(offset, offset + size)) },
    ]),
  );
}

const FILE = 'model.safetensors';

function tableOf(bytes: Uint8Array) {
  const length = readHeaderLength(bytes.subarray(0, PREFIX_BYTES), bytes.byteLength, FILE);
  return parseHeader(bytes.subarray(PREFIX_BYTES, PREFIX_BYTES + length), bytes.byteLength, FILE);
}

/** A safetensors file. */
export function serialise(tensors: ReadonlyMap<string, StoredTensor>): Uint8Array {
  let at = 0;
  const entries = [...tensors].map(([name, { dtype, shape, bytes }]) => {
    const begin = at;
    at += bytes.byteLength;
    return [name, { dtype, shape, data_offsets: [begin, at] }] as const;
  });
  const header = Buffer.from(JSON.stringify(Object.fromEntries(entries)));
  const prefix = Buffer.alloc(PREFIX_BYTES);
  prefix.writeBigUInt64LE(BigInt(header.byteLength));
  return Buffer.concat([prefix, header, ...[...tensors.values()].map(({ bytes }) => bytes)]);
}

/** Opens a file in memory, of which the header says what it holds. */
function filesInMemory(bytes: Uint8Array): WeightFiles {
  const tensors = new Map([...tableOf(bytes)].map(([name, info]) => [name, { file: FILE, info }]));
  const read = (file: string, offset: number, target: Uint8Array, tensor?: string): Promise<void> => {
    if (offset + target.byteLength > bytes.byteLength) {
      return Promise.reject(new CheckpointError('changed', file, tensor, 'ended early'));
    }
    target.set(bytes.subarray(offset, offset + target.byteLength));
    return Promise.resolve();
  };
  return { tensors, listedIn: FILE, read, close: () => Promise.resolve() };
}

/** A checkpoint whose config has this quantization_config; undefined: none. */
export function quantisedCheckpoint(bytes: Uint8Array, quantisation: unknown): SafetensorsCheckpoint {
  const config = parseModelConfig({ ...smallConfigJson, quantization_config: quantisation ?? null });
  return checkpointOf('here', config, filesInMemory(bytes));
}

/** The specs of a case's matrix, or of each in its stack. */
export function specsOf({ name, shape }: QuantisedCase): TensorSpec[] {
  const stored = `${name}.weight`;
  if (shape.length === 2) return [new TensorSpec(stored, shape)];
  return Array.from(
    { length: shape[0]! },
    (_, index) => new TensorSpec(`${name}.${index}`, shape.slice(1), { name: stored, index, of: shape[0]! }),
  );
}

import { toFloat32 } from '../safetensors.ts';
import type { WeightFile } from '../weight-files.ts';
import { AdapterError } from './adapter-error.ts';

/** Reads a tensor as float32, into shared memory if asked. Throws an AdapterError for NaN and ∞. */
export async function readTensor(file: WeightFile, tensor: string, isShared = false): Promise<Float32Array> {
  const { bytes, offset, dtype, shape } = file.table.get(tensor)!;
  const raw = new Uint8Array(bytes);
  await file.read(offset, raw, tensor);
  const length = shape.reduce((product, size) => product * size, 1);
  const values = toFloat32(raw, dtype, newValues(length, isShared));
  if (values.every(Number.isFinite)) return values;
  throw new AdapterError('bad-value', `${file.name}: tensor ${tensor} has NaN or ∞`);
}

/** Those of routed experts are shared memory, since threads get them with each task. */
export function newValues(length: number, isShared: boolean): Float32Array {
  return isShared ? new Float32Array(new SharedArrayBuffer(4 * length)) : new Float32Array(length);
}

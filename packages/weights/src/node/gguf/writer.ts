import { open, rename, rm, type FileHandle } from 'node:fs/promises';
import { WeightsError } from '../../errors.ts';
import { encodedBytes, GGUF_TYPES, type GgufType } from './format.ts';

/** A GGUF metadata value with its type. */
export type GgufValue =
  | { type: 'u32'; value: number }
  | { type: 'f32'; value: number }
  | { type: 'bool'; value: boolean }
  | { type: 'string'; value: string }
  | { type: 'strings'; value: readonly string[] }
  | { type: 'i32s'; value: readonly number[] };

export interface GgufTensor {
  name: string;
  /** Row-major, slowest dimension first; GGUF stores dimensions in the opposite order. */
  shape: readonly number[];
  type: GgufType;
  /** Yields the values in pieces of whole rows, row-major. */
  read: () => AsyncIterable<Float32Array>;
}

export interface GgufFile {
  metadata: ReadonlyMap<string, GgufValue>;
  tensors: readonly GgufTensor[];
}

export interface GgufProgress {
  doneBytes: number;
  totalBytes: number;
}

const MAGIC = 'GGUF';
const VERSION = 3;
/** `general.alignment`'s default. */
const ALIGN_BYTES = 32;
/** gguf.h's `gguf_type`. */
const VALUE_TYPES = { u32: 4, f32: 6, bool: 7, string: 8, strings: 9, i32s: 9 } as const;
const ELEMENT_TYPES = { strings: 8, i32s: 5 } as const;

/**
 * Writes a GGUF file (ggml's docs/gguf.md, version 3) with one piece of one tensor in memory at a time, under another name until
 * it is complete. Throws WeightsError `aborted` on the signal, `bad-shape` if a tensor does not yield as much as its shape says.
 */
export async function writeGguf(
  path: string,
  file: GgufFile,
  { onProgress, signal }: { onProgress?: (progress: GgufProgress) => void; signal?: AbortSignal | undefined } = {},
): Promise<void> {
  const partial = `${path}.partial`;
  const handle = await open(partial, 'w');
  try {
    await writeInto(handle, file, onProgress, signal);
    await handle.sync();
    await handle.close();
    await rename(partial, path);
  } catch (error) {
    await handle.close().catch(() => {});
    await rm(partial, { force: true });
    throw error;
  }
}

async function writeInto(
  handle: FileHandle,
  file: GgufFile,
  onProgress: ((progress: GgufProgress) => void) | undefined,
  signal: AbortSignal | undefined,
): Promise<void> {
  const header = headerOf(file);
  await handle.writeFile(header);
  const totalBytes = file.tensors.reduce((sum, tensor) => sum + aligned(tensorBytes(tensor)), 0);
  let doneBytes = 0;
  for (const tensor of file.tensors) {
    let written = 0;
    for await (const values of tensor.read()) {
      if (signal?.aborted) throw new WeightsError('aborted', 'the export was interrupted; no file was written');
      const bytes = GGUF_TYPES[tensor.type].encode(values);
      await handle.writeFile(bytes);
      written += bytes.byteLength;
      onProgress?.({ doneBytes: doneBytes + written, totalBytes });
    }
    if (written !== tensorBytes(tensor)) {
      throw new WeightsError('bad-shape', `${tensor.name} yielded ${written} of ${tensorBytes(tensor)} bytes`);
    }
    await handle.writeFile(new Uint8Array(aligned(written) - written));
    doneBytes += aligned(written);
  }
}

const aligned = (bytes: number): number => Math.ceil(bytes / ALIGN_BYTES) * ALIGN_BYTES;

function tensorBytes({ name, shape, type }: GgufTensor): number {
  const { blockValues } = GGUF_TYPES[type];
  if (shape.at(-1)! % blockValues !== 0) {
    const problem = `${name} has rows of ${shape.at(-1)} values`;
    throw new WeightsError('bad-shape', `${problem}, but ${type} needs whole blocks of ${blockValues}`);
  }
  const values = shape.reduce((a, b) => a * b, 1);
  return encodedBytes(type, values);
}

/** Everything before the first tensor's bytes, padded. */
function headerOf({ metadata, tensors }: GgufFile): Uint8Array {
  const out = new Bytes();
  out.raw(new TextEncoder().encode(MAGIC));
  out.u32(VERSION);
  out.u64(tensors.length);
  out.u64(metadata.size);
  for (const [key, value] of metadata) {
    out.string(key);
    out.u32(VALUE_TYPES[value.type]);
    writeValue(out, value);
  }
  let offset = 0;
  for (const tensor of tensors) {
    out.string(tensor.name);
    out.u32(tensor.shape.length);
    for (const size of [...tensor.shape].reverse()) out.u64(size);
    out.u32(GGUF_TYPES[tensor.type].id);
    out.u64(offset);
    offset += aligned(tensorBytes(tensor));
  }
  out.raw(new Uint8Array(aligned(out.length) - out.length));
  return out.take();
}

function writeValue(out: Bytes, value: GgufValue): void {
  switch (value.type) {
    case 'u32':
      return out.u32(value.value);
    case 'f32':
      return out.f32(value.value);
    case 'bool':
      return out.raw(Uint8Array.of(value.value ? 1 : 0));
    case 'string':
      return out.string(value.value);
    case 'strings':
    case 'i32s':
      out.u32(ELEMENT_TYPES[value.type]);
      out.u64(value.value.length);
      for (const item of value.value) {
        if (typeof item === 'string') out.string(item);
        else out.u32(item);
      }
      return;
    default:
      value satisfies never;
  }
}

/** A growing buffer of little-endian values. */
class Bytes {
  #bytes = new Uint8Array(1 << 16);
  length = 0;

  raw(bytes: Uint8Array): void {
    const end = this.length + bytes.length;
    if (end > this.#bytes.length) {
      const larger = new Uint8Array(Math.max(end, this.#bytes.length * 2));
      larger.set(this.#bytes.subarray(0, this.length));
      this.#bytes = larger;
    }
    this.#bytes.set(bytes, this.length);
    this.length = end;
  }

  u32(value: number): void {
    this.#view(4, (view) => view.setUint32(0, value, true));
  }

  u64(value: number): void {
    this.#view(8, (view) => view.setBigUint64(0, BigInt(value), true));
  }

  f32(value: number): void {
    this.#view(4, (view) => view.setFloat32(0, value, true));
  }

  string(text: string): void {
    const bytes = new TextEncoder().encode(text);
    this.u64(bytes.length);
    this.raw(bytes);
  }

  take(): Uint8Array {
    return this.#bytes.slice(0, this.length);
  }

  #view(bytes: number, write: (view: DataView) => void): void {
    const view = new DataView(new ArrayBuffer(bytes));
    write(view);
    this.raw(new Uint8Array(view.buffer));
  }
}

import { open, stat, type FileHandle } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { requireShape } from './check-tensors.ts';
import { parseModelConfig } from './config.ts';
import { CheckpointError, type CheckpointErrorReason, messageOf } from './errors.ts';
import { applyBlockScales } from './fp8.ts';
import { readJson } from './json-file.ts';
import { withoutMtp, type ModelConfig } from './model-config.ts';
import { readFully } from './read-fully.ts';
import {
  dtypeBytes,
  parseHeader,
  PREFIX_BYTES,
  readHeaderLength,
  toFloat32,
  type TensorDtype,
  type TensorInfo,
} from './safetensors.ts';

/** DeepSeek-V3 has 163 files; each costs a file handle. */
const MAX_FILES = 4096;

/** Block scales kept between reads of rows: V3's largest takes 13 KB. */
const MAX_RECENT_SCALES = 16;

const SINGLE_FILE = 'model.safetensors';
const INDEX_FILE = 'model.safetensors.index.json';

/**
 * A model's directory with its weights open for ranged reads, so that only the tensors being read are in memory.
 * Reads after `close()`, of unknown names or from a file that has shrunk throw a CheckpointError.
 */
export interface Checkpoint {
  readonly dir: string;
  readonly config: ModelConfig;
  /** Names of all tensors. */
  readonly tensors: readonly string[];
  has(name: string): boolean;
  info(name: string): { dtype: TensorDtype; shape: readonly number[]; bytes: number };
  /**
   * A tensor as float32, row-major; FP8 with its blocks' scales applied. Throws `wrong-shape` if its shape is not
   * `expectedShape`, and `not-finite` if a value is NaN or ∞.
   */
  read(name: string, expectedShape?: readonly number[]): Promise<Float32Array>;
  /**
   * Some rows of a tensor (a vector's values are rows of one), as `read` gives them: [numRows, …]. With `scratch` the result is
   * in that memory and valid until its next use.
   */
  readRows(
    name: string,
    expectedShape: readonly number[],
    firstRow: number,
    numRows: number,
    scratch?: RowScratch,
  ): Promise<Float32Array>;
  /** A tensor's bytes as stored, little-endian. */
  readRaw(name: string): Promise<Uint8Array>;
  close(): Promise<void>;
}

/** Memory that reads of rows share, one read at a time. Grows to the largest. */
export class RowScratch {
  #raw = new Uint8Array(0);
  #values = new Float32Array(0);

  raw(bytes: number): Uint8Array {
    if (this.#raw.byteLength < bytes) this.#raw = new Uint8Array(bytes);
    return this.#raw.subarray(0, bytes);
  }

  values(length: number): Float32Array {
    if (this.#values.length < length) this.#values = new Float32Array(length);
    return this.#values.subarray(0, length);
  }
}

interface WeightFile {
  name: string;
  handle: FileHandle;
  table: Map<string, TensorInfo>;
}

/** Opens a Hugging Face model directory: `config.json` with `model.safetensors` or `model.safetensors.index.json`. */
export async function openCheckpoint(dir: string): Promise<Checkpoint> {
  const config = parseModelConfig(await readJson(join(dir, 'config.json')), join(dir, 'config.json'));
  const files: WeightFile[] = [];
  try {
    const where = await openFiles(dir, files);
    return new FileCheckpoint(dir, withMtpAsStored(config, where), files, where);
  } catch (error) {
    await Promise.allSettled(files.map((file) => file.handle.close()));
    throw error;
  }
}

/**
 * Tools that rewrite a DeepSeek-V3 checkpoint drop its MTP module but leave `num_nextn_predict_layers` as it was. The module is
 * not part of the main model, so it may be absent altogether, but not in part.
 */
function withMtpAsStored(config: ModelConfig, where: ReadonlyMap<string, WeightFile>): ModelConfig {
  const prefix = `model.layers.${config.numHiddenLayers}.`;
  if (config.numNextnPredictLayers === 0 || [...where.keys()].some((name) => name.startsWith(prefix))) return config;
  return withoutMtp(config);
}

/** Opens the weight files into `files`, so that the caller can close them on failure. Returns the file of each tensor. */
async function openFiles(dir: string, files: WeightFile[]): Promise<Map<string, WeightFile>> {
  const where = new Map<string, WeightFile>();
  if (!(await exists(join(dir, INDEX_FILE)))) {
    const file = await openFile(dir, SINGLE_FILE);
    files.push(file);
    for (const name of file.table.keys()) where.set(name, file);
    return where;
  }
  const weightMap = await readIndex(join(dir, INDEX_FILE));
  for (const name of new Set(weightMap.values())) files.push(await openFile(dir, name, INDEX_FILE));
  for (const file of files) {
    for (const tensor of file.table.keys()) {
      const other = where.get(tensor);
      if (other) throw new CheckpointError('duplicate', file.name, tensor, `is also stored in ${other.name}`);
      if (weightMap.get(tensor) !== file.name) {
        const detail = `is stored in ${file.name}, but the index does not say so`;
        throw new CheckpointError('bad-index', INDEX_FILE, tensor, detail);
      }
      where.set(tensor, file);
    }
  }
  for (const [tensor, file] of weightMap) {
    if (!where.has(tensor))
      throw new CheckpointError('missing-tensor', file, tensor, 'is named by the index but not stored');
  }
  return where;
}

const indexSchema = z.object({ weight_map: z.record(z.string(), z.string()) });

/** Tensor name → file name. */
async function readIndex(path: string): Promise<Map<string, string>> {
  const bad = (tensor: string | undefined, detail: string) => new CheckpointError('bad-index', path, tensor, detail);
  const parsed = indexSchema.safeParse(await readJson(path));
  if (!parsed.success) throw bad(undefined, 'has no weight_map of tensor names to file names');
  const map = new Map(Object.entries(parsed.data.weight_map));
  for (const [tensor, file] of map) {
    // The index comes with a download: it must not name files elsewhere.
    const isPlain = /^[\w.-]+\.safetensors$/.test(file);
    if (!isPlain) throw bad(tensor, `file name ${JSON.stringify(file)} is not a plain *.safetensors name`);
  }
  if (map.size === 0) throw bad(undefined, 'weight_map is empty');
  const files = new Set(map.values()).size;
  if (files > MAX_FILES) throw bad(undefined, `names ${files} files (limit ${MAX_FILES})`);
  return map;
}

async function openFile(dir: string, name: string, namedBy?: string): Promise<WeightFile> {
  let handle: FileHandle;
  try {
    handle = await open(join(dir, name), 'r');
  } catch (cause) {
    const why = namedBy ? `cannot be opened, though ${namedBy} names it` : 'cannot be opened';
    throw new CheckpointError('not-found', join(dir, name), undefined, `${why} (${messageOf(cause)})`, { cause });
  }
  try {
    const { size } = await handle.stat();
    const prefix = await readRange(handle, 0, Math.min(PREFIX_BYTES, size), name);
    const header = await readRange(handle, PREFIX_BYTES, readHeaderLength(prefix, size, name), name);
    return { name, handle, table: parseHeader(header, size, name) };
  } catch (error) {
    await handle.close();
    throw error;
  }
}

async function readRange(
  handle: FileHandle,
  offset: number,
  bytes: number,
  file: string,
  tensor?: string,
  buffer: Uint8Array = new Uint8Array(bytes),
): Promise<Uint8Array> {
  if ((await readFully(handle, buffer, offset)) === bytes) return buffer;
  throw new CheckpointError('changed', file, tensor, 'ended early: the file has shrunk since it was opened');
}

class FileCheckpoint implements Checkpoint {
  readonly dir: string;
  readonly config: ModelConfig;
  readonly tensors: readonly string[];
  readonly #files: readonly WeightFile[];
  readonly #where: ReadonlyMap<string, WeightFile>;
  readonly #recentScales = new Map<string, Float32Array>();
  #closed = false;

  constructor(dir: string, config: ModelConfig, files: readonly WeightFile[], where: ReadonlyMap<string, WeightFile>) {
    this.dir = dir;
    this.config = config;
    this.tensors = [...where.keys()];
    this.#files = files;
    this.#where = where;
  }

  has(name: string): boolean {
    return this.#where.has(name);
  }

  info(name: string): TensorInfo {
    return this.#find(name).info;
  }

  async read(name: string, expectedShape?: readonly number[]): Promise<Float32Array> {
    const { shape } = this.#find(name).info;
    return this.readRows(name, expectedShape ?? shape, 0, shape[0] ?? 1);
  }

  async readRows(
    name: string,
    expectedShape: readonly number[],
    firstRow: number,
    numRows: number,
    scratch = new RowScratch(),
  ): Promise<Float32Array> {
    const { file, info } = this.#find(name);
    const { shape, dtype } = info;
    requireShape(shape, expectedShape, file.name, name);
    const rowBytes = info.bytes / (shape[0] ?? 1);
    const offset = info.offset + firstRow * rowBytes;
    const bytes = numRows * rowBytes;
    this.#refuseClosed(file, name);
    const raw = await readRange(file.handle, offset, bytes, file.name, name, scratch.raw(bytes));
    const values = toFloat32(raw, dtype, scratch.values(bytes / dtypeBytes[dtype]));
    if (dtype === 'F8_E4M3') await this.#scale(name, file, shape, values, firstRow);
    const bad = firstNotFinite(values);
    if (bad === undefined) return values;
    const place = placeOf(bad + (firstRow * values.length) / numRows, shape);
    const detail = `the value at ${place} is ${values[bad]}: download it again`;
    throw new CheckpointError('not-finite', file.name, name, detail);
  }

  /** Multiplies FP8 weights by their blocks' scales, which are stored beside them as `<name>_scale_inv`. */
  async #scale(
    name: string,
    file: WeightFile,
    shape: readonly number[],
    values: Float32Array,
    firstRow: number,
  ): Promise<void> {
    const blockSize = this.config.fp8BlockSize;
    const [rows, columns] = shape;
    const wrong = (reason: CheckpointErrorReason, detail: string) =>
      new CheckpointError(reason, file.name, name, detail);
    if (!blockSize) {
      throw wrong('wrong-dtype', 'is FP8, but config.json has no quantization_config with a weight_block_size');
    }
    if (rows === undefined || columns === undefined || shape.length !== 2) {
      throw wrong('wrong-shape', `is FP8 [${shape.join(', ')}]; only matrices are read`);
    }
    const scaleShape = [Math.ceil(rows / blockSize[0]), Math.ceil(columns / blockSize[1])];
    applyBlockScales(values, columns, await this.#scales(`${name}_scale_inv`, scaleShape), blockSize, firstRow);
  }

  /** Keeps the scales of recently read tensors, since a tensor that is read by rows needs them for each read. */
  async #scales(name: string, shape: readonly number[]): Promise<Float32Array> {
    let scales = this.#recentScales.get(name);
    if (!scales) {
      scales = await this.read(name, shape);
      if (this.#recentScales.size >= MAX_RECENT_SCALES) this.#recentScales.clear();
      this.#recentScales.set(name, scales);
    }
    return scales;
  }

  async readRaw(name: string): Promise<Uint8Array> {
    const { file, info } = this.#find(name);
    this.#refuseClosed(file, name);
    return readRange(file.handle, info.offset, info.bytes, file.name, name);
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    await Promise.all(this.#files.map((file) => file.handle.close()));
  }

  #refuseClosed(file: WeightFile, name: string): void {
    if (this.#closed) throw new CheckpointError('closed', file.name, name, 'cannot be read: the checkpoint was closed');
  }

  #find(name: string): { file: WeightFile; info: TensorInfo } {
    const file = this.#where.get(name);
    const info = file?.table.get(name);
    if (!file || !info) {
      const listed = this.#files.length === 1 ? this.#files[0]!.name : INDEX_FILE;
      throw new CheckpointError('missing-tensor', join(this.dir, listed), name, 'is not in the checkpoint');
    }
    return { file, info };
  }
}

/** The exponent of a float32, which is all ones in NaN and ∞ only. */
const EXPONENT_BITS = 0x7f80_0000;

function firstNotFinite(values: Float32Array): number | undefined {
  const bits = new Uint32Array(values.buffer, values.byteOffset, values.length);
  for (let i = 0; i < bits.length; i++) if ((bits[i]! & EXPONENT_BITS) === EXPONENT_BITS) return i;
  return undefined;
}

/** Coordinates of a flat index: 7 in [2, 5] is "[1, 2]". */
function placeOf(index: number, shape: readonly number[]): string {
  const place: number[] = [];
  let rest = index;
  for (const size of [...shape].reverse()) {
    place.unshift(rest % size);
    rest = Math.floor(rest / size);
  }
  return `[${place.join(', ')}]`;
}

/** Whether a path exists. An entry that cannot be examined counts as existing, so that opening it reports the reason. */
async function exists(path: string): Promise<boolean> {
  try {
    await stat(path);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code !== 'ENOENT';
  }
}

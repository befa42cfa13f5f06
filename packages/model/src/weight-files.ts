import { open, stat, type FileHandle } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { CheckpointError, messageOf } from './errors.ts';
import { readJson } from './json-file.ts';
import { readFully } from './read-fully.ts';
import { parseHeader, PREFIX_BYTES, readHeaderLength, type TensorInfo } from './safetensors.ts';

/** DeepSeek-V3 has 163 files; each costs a file handle. */
const MAX_FILES = 4096;

const SINGLE_FILE = 'model.safetensors';
const INDEX_FILE = 'model.safetensors.index.json';

/** The place of a stored tensor. */
export interface StoredTensor {
  file: string;
  info: TensorInfo;
}

/** The files that hold a checkpoint's tensors, open for ranged reads. */
export interface WeightFiles {
  /** By the tensors' names, over all files. */
  readonly tensors: ReadonlyMap<string, StoredTensor>;
  /** The file that lists the tensors, for errors. */
  readonly listedIn: string;
  /**
   * Fills `target` from a file's bytes at `offset`. `tensor` is for errors. Throws CheckpointError `changed` where the file has
   * become shorter, and `closed`.
   */
  read(file: string, offset: number, target: Uint8Array, tensor?: string): Promise<void>;
  close(): Promise<void>;
}

/** One safetensors file. */
export interface WeightFile {
  name: string;
  table: ReadonlyMap<string, TensorInfo>;
  /** As `WeightFiles.read`. */
  read(offset: number, target: Uint8Array, tensor?: string): Promise<void>;
  close(): Promise<void>;
}

/** Opens the file of this name; `namedBy` is the index that names it. */
export type OpenWeightFile = (name: string, namedBy?: string) => Promise<WeightFile>;

/**
 * Opens the weights of a model's directory: `model.safetensors` or the files of `model.safetensors.index.json`. With `openFile` the
 * directory needs to hold the index alone.
 */
export async function openWeightFiles(
  dir: string,
  openFile: OpenWeightFile = (name, namedBy) => openWeightFile(dir, name, namedBy),
): Promise<WeightFiles> {
  const files: WeightFile[] = [];
  try {
    const where = await openFiles(dir, files, openFile);
    return new SeveralFiles(join(dir, files.length === 1 ? files[0]!.name : INDEX_FILE), files, where);
  } catch (error) {
    await Promise.allSettled(files.map((file) => file.close()));
    throw error;
  }
}

class SeveralFiles implements WeightFiles {
  readonly tensors: ReadonlyMap<string, StoredTensor>;
  readonly listedIn: string;
  readonly #files: ReadonlyMap<string, WeightFile>;
  #closed = false;

  constructor(listedIn: string, files: readonly WeightFile[], where: ReadonlyMap<string, WeightFile>) {
    this.listedIn = listedIn;
    this.#files = new Map(files.map((file) => [file.name, file]));
    this.tensors = new Map(
      [...where].map(([tensor, { name, table }]) => [tensor, { file: name, info: table.get(tensor)! }]),
    );
  }

  async read(file: string, offset: number, target: Uint8Array, tensor?: string): Promise<void> {
    if (this.#closed) throw new CheckpointError('closed', file, tensor, 'cannot be read: the checkpoint was closed');
    await this.#files.get(file)!.read(offset, target, tensor);
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    await Promise.all([...this.#files.values()].map((file) => file.close()));
  }
}

/** Opens the weight files into `files`, so that the caller can close them on failure. Returns the file of each tensor. */
async function openFiles(dir: string, files: WeightFile[], openFile: OpenWeightFile): Promise<Map<string, WeightFile>> {
  const where = new Map<string, WeightFile>();
  if (!(await exists(join(dir, INDEX_FILE)))) {
    const file = await openFile(SINGLE_FILE);
    files.push(file);
    for (const name of file.table.keys()) where.set(name, file);
    return where;
  }
  const weightMap = await readIndex(join(dir, INDEX_FILE));
  for (const name of new Set(weightMap.values())) files.push(await openFile(name, INDEX_FILE));
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

/** Opens a safetensors file of a directory. */
export async function openWeightFile(dir: string, name: string, namedBy?: string): Promise<WeightFile> {
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
    return {
      name,
      table: parseHeader(header, size, name),
      read: async (offset, target, tensor) => {
        await readRange(handle, offset, target.byteLength, name, tensor, target);
      },
      close: () => handle.close(),
    };
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

/** Whether a path exists. An entry that cannot be examined counts as existing, so that opening it reports the reason. */
async function exists(path: string): Promise<boolean> {
  try {
    await stat(path);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code !== 'ENOENT';
  }
}

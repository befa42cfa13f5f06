import { open, type FileHandle } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { CheckpointError, type CheckpointErrorReason, messageOf } from '../errors.ts';
import { readFully } from '../read-fully.ts';
import { type GgufHeader, type GgufTensor, HeaderGoesOn, MAX_HEADER_BYTES, parseHeader } from './header.ts';

/** Kimi-K2 in BF16 has 48 parts of 48 GB; each costs a file handle. */
const MAX_PARTS = 1024;
/** Enough for the header of a split model's later parts; larger headers are read again with four times as much. */
const FIRST_READ_BYTES = 1 << 20;

const PART_NAME = /^(.*)-(\d{5})-of-(\d{5})\.gguf$/;

export interface GgufFile {
  /** Without its directory. */
  name: string;
  handle: FileHandle;
  header: GgufHeader;
}

/** A model in one GGUF file or in several parts, open for reading. */
export interface GgufFiles {
  /** The first has the metadata. */
  files: readonly GgufFile[];
  metadata: GgufHeader['metadata'];
  /** Of all files. */
  tensors: ReadonlyMap<string, { file: GgufFile; tensor: GgufTensor }>;
  close(): Promise<void>;
}

/**
 * Opens a GGUF file and, if it is the first of several parts (`-00001-of-0000N.gguf`), the others beside it. Throws a
 * CheckpointError, which names the parts that are missing.
 */
export async function openGgufFiles(path: string): Promise<GgufFiles> {
  const files: GgufFile[] = [];
  const close = async (): Promise<void> => {
    await Promise.allSettled(files.map(({ handle }) => handle.close()));
  };
  try {
    files.push(await openFile(path));
    const names = partNames(basename(path), files[0]!.header.metadata);
    const missing: string[] = [];
    for (const name of names.slice(1)) {
      try {
        files.push(await openFile(join(dirname(path), name)));
      } catch (error) {
        if (!(error instanceof CheckpointError) || error.reason !== 'not-found') throw error;
        missing.push(name);
      }
    }
    if (missing.length > 0) {
      const problem = `is the first of ${names.length} parts, of which are not beside it: ${missing.join(', ')}`;
      throw new CheckpointError('not-found', basename(path), undefined, `${problem}; download them too`);
    }
    return { files, metadata: files[0]!.header.metadata, tensors: tensorsOf(files), close };
  } catch (error) {
    await close();
    throw error;
  }
}

/** Names of all parts of a model, the given one being the first; only that name if it is not split. */
function partNames(name: string, metadata: GgufHeader['metadata']): string[] {
  const count = metadata.get('split.count') ?? 1;
  const bad = (reason: CheckpointErrorReason, detail: string) => new CheckpointError(reason, name, undefined, detail);
  if (typeof count !== 'number' || !Number.isInteger(count) || count > MAX_PARTS) {
    throw bad('bad-header', `split.count is ${String(count)}; up to ${MAX_PARTS} parts are read`);
  }
  if (count <= 1) return [name];
  const [, prefix, part, parts] = PART_NAME.exec(name) ?? [];
  const nameOf = (index: number): string => `${prefix}-${digits(index + 1)}-of-${digits(count)}.gguf`;
  if (prefix === undefined || Number(parts) !== count) {
    const pattern = `<name>-00001-of-${digits(count)}.gguf`;
    throw bad('bad-index', `is one of ${count} parts: rename them as they were published, ${pattern} and so on`);
  }
  if (Number(part) !== 1) throw bad('bad-index', `is part ${Number(part)} of ${count}: give the first, ${nameOf(0)}`);
  return Array.from({ length: count }, (_, index) => nameOf(index));
}

const digits = (number: number): string => `${number}`.padStart(5, '0');

function tensorsOf(files: readonly GgufFile[]): Map<string, { file: GgufFile; tensor: GgufTensor }> {
  const all = new Map<string, { file: GgufFile; tensor: GgufTensor }>();
  for (const [index, file] of files.entries()) {
    const { metadata, tensors } = file.header;
    const [number, count] = [metadata.get('split.no') ?? 0, metadata.get('split.count') ?? 1];
    if (number !== index || (files.length > 1 && count !== files.length)) {
      const detail = `says that it is part ${Number(number) + 1} of ${String(count)}, not ${index + 1} of ${files.length}`;
      throw new CheckpointError('bad-index', file.name, undefined, `${detail}: parts of different models are mixed`);
    }
    for (const [name, tensor] of tensors) {
      const other = all.get(name);
      if (other) throw new CheckpointError('duplicate', file.name, name, `is also stored in ${other.file.name}`);
      all.set(name, { file, tensor });
    }
  }
  const expected = files[0]!.header.metadata.get('split.tensors.count') ?? all.size;
  if (expected === all.size) return all;
  const detail = `announces ${String(expected)} tensors over all parts, which have ${all.size}`;
  throw new CheckpointError('bad-index', files[0]!.name, undefined, `${detail}: parts of different models are mixed`);
}

async function openFile(path: string): Promise<GgufFile> {
  const name = basename(path);
  let handle: FileHandle;
  try {
    handle = await open(path, 'r');
  } catch (cause) {
    throw new CheckpointError('not-found', path, undefined, `cannot be opened (${messageOf(cause)})`, { cause });
  }
  try {
    return { name, handle, header: await readHeader(handle, name) };
  } catch (error) {
    await handle.close();
    throw error;
  }
}

/** Reads as much of a file as its header needs. */
async function readHeader(handle: FileHandle, name: string): Promise<GgufHeader> {
  const { size } = await handle.stat();
  for (let bytes = FIRST_READ_BYTES; ; bytes *= 4) {
    const buffer = Buffer.alloc(Math.min(bytes, size, MAX_HEADER_BYTES));
    const read = await readFully(handle, buffer, 0);
    try {
      return parseHeader(buffer.subarray(0, read), read < buffer.byteLength ? read : size, name);
    } catch (error) {
      if (!(error instanceof HeaderGoesOn)) throw error;
    }
  }
}

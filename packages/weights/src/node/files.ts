import { createHash, randomBytes } from 'node:crypto';
import { existsSync } from 'node:fs';
import { type FileHandle, mkdir, open, readdir, readFile, realpath, rename, rm, stat, statfs } from 'node:fs/promises';
import { basename, dirname, extname, join, resolve, sep } from 'node:path';
import { messageOf } from '@shoal/model';
import { WeightsError } from '../errors.ts';

export const MANIFEST_FILE = 'manifest.json';
export const SHARD_DIR = 'shards';
/** Name of DENSE_FILE until it is complete. */
export const DENSE_PART_FILE = 'dense.part';
/** Prefix of incomplete files. */
export const TEMP_PREFIX = '.tmp-';
/** Bytes in memory that are hashed by one call, which takes less than 2 GiB. */
const HASH_BYTES = 2 ** 30;
/** Bytes of a file that are read and hashed at a time. */
const READ_BYTES = 4 * 1024 * 1024;

export function sha256(bytes: Uint8Array | string): string {
  const hash = createHash('sha256');
  if (typeof bytes === 'string') return hash.update(bytes).digest('hex');
  for (let at = 0; at < bytes.byteLength; at += HASH_BYTES) hash.update(bytes.subarray(at, at + HASH_BYTES));
  return hash.digest('hex');
}

/**
 * Writes a complete file or none: under a temporary name, synced, then renamed. `content` may write it piece by piece. Throws
 * WeightsError `disk-full` or `unwritable`.
 */
export async function writeWhole(
  path: string,
  content: Uint8Array | string | ((file: FileHandle) => Promise<void>),
  mode?: number,
): Promise<void> {
  const temp = join(dirname(path), `${TEMP_PREFIX}${process.pid}-${randomBytes(6).toString('hex')}`);
  try {
    const file = await open(temp, 'wx', mode);
    try {
      await (typeof content === 'function' ? content(file) : file.writeFile(content));
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(temp, path);
  } catch (error) {
    // It may not be possible any more. The first error matters.
    await rm(temp, { force: true }).catch(() => {});
    throw asWriteError(error, path);
  }
}

/** Removes what `writeWhole` has left in a folder in processes that were killed. */
export async function removeRemains(dir: string): Promise<void> {
  for (const name of await readdir(dir)) if (name.startsWith(TEMP_PREFIX)) await rm(join(dir, name), { force: true });
}

/** Codes of file systems for a path that this process may not write to, or not in this way. */
const UNWRITABLE = new Set(['EACCES', 'EPERM', 'EROFS', 'ENOTDIR', 'EEXIST', 'EISDIR']);

/** Turns what a file system says about a failed write into a WeightsError with a remedy; returns any other error unchanged. */
export function asWriteError(error: unknown, path: string): unknown {
  const { code = '' } = error as NodeJS.ErrnoException;
  if (code === 'ENOSPC' || code === 'EDQUOT') {
    const remedy = 'free some space (or choose another folder) and run again: finished parts are kept';
    return new WeightsError('disk-full', `the disk is full, writing ${path}; ${remedy}`, { cause: error });
  }
  if (!UNWRITABLE.has(code)) return error;
  const remedy =
    'make it a folder that this user may write to, or choose another: --cache DIR for shoal serve, --out DIR for shoal pack';
  return new WeightsError('unwritable', `${path} cannot be written (${messageOf(error)}); ${remedy}`, { cause: error });
}

/** Makes a folder and those above it. Throws WeightsError `disk-full` or `unwritable`. */
export async function makeFolder(path: string): Promise<void> {
  try {
    await mkdir(path, { recursive: true });
  } catch (error) {
    // On a read-only disk, Node 20 says only that a folder is missing (ENOENT).
    let missing = path;
    while (dirname(missing) !== missing && !existsSync(dirname(missing))) missing = dirname(missing);
    const reason = await mkdir(missing).catch((real: unknown) => real);
    throw asWriteError(reason ?? error, path);
  }
}

/** Bytes that this user may still write to the disk of `dir`. */
export async function freeBytesOf(dir: string): Promise<number> {
  const { bavail, bsize } = await statfs(dir);
  return bavail * bsize;
}

/** Whether `path` is a file with this hash. */
export async function fileMatches(path: string, expectedBytes: number, hash: string): Promise<boolean> {
  try {
    if ((await stat(path)).size !== expectedBytes) return false;
    return sha256(await readFile(path)) === hash;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return false;
    throw error;
  }
}

/** Whether a range of a file matches a hash. */
export async function rangeMatches(
  path: string,
  range: { offset: number; bytes: number },
  hash: string,
): Promise<boolean> {
  const file = await open(path, 'r');
  try {
    return (await hashRange(file, range)) === hash;
  } finally {
    await file.close();
  }
}

/** SHA-256 of a range of a file, which may end beyond the file. */
export async function hashRange(
  file: FileHandle,
  { offset, bytes }: { offset: number; bytes: number },
): Promise<string> {
  const hash = createHash('sha256');
  const buffer = new Uint8Array(Math.min(bytes, READ_BYTES));
  for (let done = 0; done < bytes;) {
    const { bytesRead } = await file.read(buffer, 0, Math.min(buffer.byteLength, bytes - done), offset + done);
    if (bytesRead === 0) break;
    hash.update(buffer.subarray(0, bytesRead));
    done += bytesRead;
  }
  return hash.digest('hex');
}

/**
 * Throws WeightsError `bad-output` if a checkpoint must not be packed into a folder: its own, one inside it, or another
 * checkpoint's.
 */
export async function refuseOutput(modelDir: string | undefined, outDir: string): Promise<void> {
  const source = modelDir && (await realpath(modelDir).catch(() => resolve(modelDir)));
  const target = await resolveExisting(outDir);
  const choose = 'choose a separate folder for the packed model';
  if (source && (target === source || target.startsWith(`${source}${sep}`))) {
    throw new WeightsError('bad-output', `${outDir} is inside the checkpoint ${modelDir}; ${choose}`);
  }
  const names = await readdir(target).catch(() => []);
  const weights = names.map((name) => extname(name)).find((extension) => ['.safetensors', '.gguf'].includes(extension));
  if (weights !== undefined)
    throw new WeightsError('bad-output', `${outDir} holds a checkpoint (*${weights}); ${choose}`);
}

/** The path with symbolic links resolved as far as it exists. */
async function resolveExisting(path: string): Promise<string> {
  const full = resolve(path);
  try {
    return await realpath(full);
  } catch {
    const parent = dirname(full);
    return parent === full ? full : join(await resolveExisting(parent), basename(full));
  }
}

import { createHash, randomBytes } from 'node:crypto';
import {
  type FileHandle,
  open,
  readdir,
  readFile,
  realpath,
  rename,
  rm,
  stat,
  statfs,
  utimes,
  writeFile,
} from 'node:fs/promises';
import { basename, dirname, join, resolve, sep } from 'node:path';
import { WeightsError } from '../errors.ts';

export const MANIFEST_FILE = 'manifest.json';
export const SHARD_DIR = 'shards';
/** The coordinator's own weights until all of them are there; then it is renamed to DENSE_FILE. */
export const DENSE_PART_FILE = 'dense.part';
/** Names what is being written; never a complete file. */
export const TEMP_PREFIX = '.tmp-';
const LOCK_FILE = 'pack.lock';
/** A packer touches its lock while it works. */
const LOCK_TOUCH_MS = 10_000;
const LOCK_STALE_MS = 120_000;
/** Of a file whose hash is asked for, at a time. */
const READ_BYTES = 4 * 1024 * 1024;

export function sha256(bytes: Uint8Array | string): string {
  return createHash('sha256').update(bytes).digest('hex');
}

/** Write a whole file or none: to a temporary name, to the disk, then renamed. Throws WeightsError `disk-full`. */
export async function writeWhole(path: string, bytes: Uint8Array | string): Promise<void> {
  const temp = join(dirname(path), `${TEMP_PREFIX}${process.pid}-${randomBytes(6).toString('hex')}`);
  try {
    const file = await open(temp, 'wx');
    try {
      await file.writeFile(bytes);
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(temp, path);
  } catch (error) {
    await rm(temp, { force: true });
    throw asDiskFull(error, path);
  }
}

/** ENOSPC and EDQUOT as a WeightsError that says what to do; anything else unchanged. */
export function asDiskFull(error: unknown, path: string): unknown {
  const code = (error as NodeJS.ErrnoException).code;
  if (code !== 'ENOSPC' && code !== 'EDQUOT') return error;
  return new WeightsError(
    'disk-full',
    `the disk is full, writing ${path}; what is packed so far is kept: free some space (or choose another folder) and run again`,
    { cause: error },
  );
}

/** Bytes that this user may still write on the disk of `dir`. */
export async function freeBytesOf(dir: string): Promise<number> {
  const { bavail, bsize } = await statfs(dir);
  return bavail * bsize;
}

/** Whether `path` holds exactly the bytes that `hash` names. */
export async function fileMatches(path: string, expectedBytes: number, hash: string): Promise<boolean> {
  try {
    if ((await stat(path)).size !== expectedBytes) return false;
    return sha256(await readFile(path)) === hash;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return false;
    throw error;
  }
}

/** Whether bytes of a file match a hash; read in pieces. */
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

/** SHA-256 of some bytes of a file; of those that there are, where it ends before. */
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
 * A folder that a checkpoint may be packed into: not the checkpoint, nor within it, nor another one's.
 * Throws WeightsError `bad-output`.
 */
export async function refuseOutput(modelDir: string, outDir: string): Promise<void> {
  const source = await realpath(modelDir).catch(() => resolve(modelDir));
  const target = await resolveExisting(outDir);
  const choose = 'choose a folder of its own for the packed model';
  if (target === source || target.startsWith(`${source}${sep}`)) {
    throw new WeightsError('bad-output', `${outDir} lies in the checkpoint ${modelDir} itself; ${choose}`);
  }
  const names = await readdir(target).catch(() => []);
  if (names.some((name) => name.endsWith('.safetensors'))) {
    throw new WeightsError('bad-output', `${outDir} holds a checkpoint (*.safetensors); ${choose}`);
  }
}

/** The path without links, as far as it exists. */
async function resolveExisting(path: string): Promise<string> {
  const full = resolve(path);
  try {
    return await realpath(full);
  } catch {
    const parent = dirname(full);
    return parent === full ? full : join(await resolveExisting(parent), basename(full));
  }
}

export interface PackLock {
  release(): Promise<void>;
}

const heldHere = new Set<string>();

/**
 * One packer per folder. A lock is stale when its process is gone, or has not touched it for two minutes (its process id
 * may mean nothing here: another machine or container). Throws WeightsError `busy`.
 */
export async function lockFolder(dir: string): Promise<PackLock> {
  const path = join(dir, LOCK_FILE);
  if (heldHere.has(path)) throw busy(dir, process.pid);
  heldHere.add(path);
  try {
    try {
      await writeFile(path, `${process.pid}`, { flag: 'wx' });
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw asDiskFull(error, path);
      const owner = await liveOwner(path);
      if (owner !== undefined) throw busy(dir, owner);
      await writeFile(path, `${process.pid}`);
    }
  } catch (error) {
    heldHere.delete(path);
    throw error;
  }
  const timer = setInterval(() => {
    const now = new Date();
    // Where it cannot be touched any more, the process id still stands in it.
    utimes(path, now, now).catch(() => {});
  }, LOCK_TOUCH_MS).unref();
  return {
    release: async () => {
      clearInterval(timer);
      heldHere.delete(path);
      await rm(path, { force: true });
    },
  };
}

async function liveOwner(path: string): Promise<number | undefined> {
  const [text, { mtimeMs }] = await Promise.all([readFile(path, 'utf8'), stat(path)]);
  const owner = Number.parseInt(text, 10);
  // Our own id in a lock that this process does not hold: left by an earlier process of the same id (a container's 1).
  if (!Number.isInteger(owner) || owner === process.pid || Date.now() - mtimeMs > LOCK_STALE_MS) return undefined;
  try {
    process.kill(owner, 0);
    return owner;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM' ? owner : undefined;
  }
}

function busy(dir: string, owner: number): WeightsError {
  return new WeightsError(
    'busy',
    `process ${owner} is already packing into ${dir}; wait for it, or choose another folder`,
  );
}

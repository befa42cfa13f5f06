import { createHash, randomBytes } from 'node:crypto';
import { open, readFile, rename, rm, stat, statfs, utimes, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { WeightsError } from '../errors.ts';

export const MANIFEST_FILE = 'manifest.json';
export const SHARD_DIR = 'shards';
/** Names what is being written; never a complete file. */
export const TEMP_PREFIX = '.tmp-';
const LOCK_FILE = 'pack.lock';
/** A packer touches its lock with every shard; the slowest shard (V3 in f16 from a slow disk) takes seconds. */
const LOCK_STALE_MS = 120_000;

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

export interface PackLock {
  /** Say that the packer still works. */
  touch(): Promise<void>;
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
  return {
    touch: async () => {
      const now = new Date();
      await utimes(path, now, now);
    },
    release: async () => {
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

import { randomBytes } from 'node:crypto';
import { mkdir, readdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type ShardCache, ShardCacheError } from '@shoal/peer';

const SHA256_HEX = /^[0-9a-f]{64}$/;
const PART_PREFIX = '.part-';
/** A part that is older was left by a process that was killed. */
const PART_MAX_AGE_MS = 3_600_000;

/** Keeps shards as files of a folder, named by their SHA-256. Several donors of a machine may share it. */
export class DiskShardCache implements ShardCache {
  readonly #dir: string;

  constructor(dir: string) {
    this.#dir = dir;
  }

  async get(sha256: string): Promise<Uint8Array | undefined> {
    try {
      return await readFile(this.#path(sha256));
    } catch {
      return undefined;
    }
  }

  async names(): Promise<string[]> {
    return (await this.#files()).map(({ name }) => name);
  }

  async put(sha256: string, bytes: Uint8Array): Promise<void> {
    const part = join(this.#dir, `${PART_PREFIX}${randomBytes(8).toString('hex')}`);
    try {
      await mkdir(this.#dir, { recursive: true });
      await writeFile(part, bytes);
      await rename(part, this.#path(sha256));
    } catch (cause) {
      await rm(part, { force: true }).catch(() => {});
      const { code, message } = cause as NodeJS.ErrnoException;
      const isFull = code === 'ENOSPC' || code === 'EDQUOT';
      throw new ShardCacheError(isFull ? 'quota' : 'unavailable', `${this.#dir}: ${message}`, { cause });
    }
  }

  async delete(sha256: string): Promise<void> {
    await rm(this.#path(sha256), { force: true });
  }

  async prune(keep: ReadonlySet<string>, limitBytes: number): Promise<void> {
    const files = await this.#files();
    let leftBytes = sumOf(files);
    for (const { name, bytes } of files) {
      if (leftBytes <= limitBytes) return;
      if (keep.has(name)) continue;
      await this.delete(name);
      leftBytes -= bytes;
    }
  }

  async deleteAll(): Promise<number> {
    const files = await this.#files();
    for (const { name } of files) await this.delete(name);
    return sumOf(files);
  }

  async sizeBytes(): Promise<number> {
    return sumOf(await this.#files());
  }

  /** Oldest first. Removes parts that were never finished. */
  async #files(): Promise<{ name: string; bytes: number; writtenMs: number }[]> {
    const found = await Promise.all((await this.#entries()).map((name) => this.#file(name)));
    return found.filter((file) => file !== undefined).toSorted((a, b) => a.writtenMs - b.writtenMs);
  }

  async #file(name: string): Promise<{ name: string; bytes: number; writtenMs: number } | undefined> {
    if (!SHA256_HEX.test(name) && !name.startsWith(PART_PREFIX)) return undefined;
    try {
      const { size, mtimeMs } = await stat(join(this.#dir, name));
      if (!name.startsWith(PART_PREFIX)) return { name, bytes: size, writtenMs: mtimeMs };
      if (Date.now() - mtimeMs > PART_MAX_AGE_MS) await rm(join(this.#dir, name), { force: true });
    } catch {
      // Another donor has removed it meanwhile.
    }
    return undefined;
  }

  async #entries(): Promise<string[]> {
    try {
      return await readdir(this.#dir);
    } catch (cause) {
      if ((cause as NodeJS.ErrnoException).code === 'ENOENT') return [];
      throw new ShardCacheError('unavailable', `${this.#dir}: ${(cause as Error).message}`, { cause });
    }
  }

  #path(sha256: string): string {
    return join(this.#dir, sha256);
  }
}

function sumOf(files: readonly { bytes: number }[]): number {
  return files.reduce((sum, { bytes }) => sum + bytes, 0);
}

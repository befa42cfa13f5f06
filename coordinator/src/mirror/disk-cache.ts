import { randomBytes } from 'node:crypto';
import { mkdir, readdir, rename, rm, stat, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

const SHA256_HEX = /^[0-9a-f]{64}$/;
const PART_PREFIX = '.part-';
/** How often the time of a file's last use is written, which orders them after a restart. */
const TOUCH_INTERVAL_MS = 60_000;

interface Entry {
  bytes: number;
  touchedMs: number;
}

/** Shards in files of a folder, named by SHA-256; the least recently used make room. Readers check what they read. */
export class DiskCache {
  readonly #dir: string;
  readonly #limitBytes: number;
  /** The most recently used last. */
  readonly #entries = new Map<string, Entry>();
  #bytes = 0;
  #changed: Promise<void> = Promise.resolve();

  private constructor(dir: string, limitBytes: number) {
    this.#dir = dir;
    this.#limitBytes = limitBytes;
  }

  /** Opens a folder, with what an earlier mirror left in it. */
  static async open(dir: string, limitBytes: number): Promise<DiskCache> {
    await mkdir(dir, { recursive: true });
    const cache = new DiskCache(dir, limitBytes);
    const found: [string, Entry][] = [];
    for (const name of await readdir(dir)) {
      if (name.startsWith(PART_PREFIX)) await rm(join(dir, name), { force: true });
      if (!SHA256_HEX.test(name)) continue;
      const { size, mtimeMs } = await stat(join(dir, name));
      found.push([name, { bytes: size, touchedMs: mtimeMs }]);
    }
    for (const [name, entry] of found.toSorted(([, a], [, b]) => a.touchedMs - b.touchedMs)) {
      // Times of files are of another clock than those of use.
      cache.#entries.set(name, { bytes: entry.bytes, touchedMs: Number.NEGATIVE_INFINITY });
      cache.#bytes += entry.bytes;
    }
    await cache.#makeRoom(0);
    return cache;
  }

  get bytes(): number {
    return this.#bytes;
  }

  get shards(): number {
    return this.#entries.size;
  }

  /** Path and size of a shard, which counts as used now; undefined if it is not there. */
  find(sha256: string): { path: string; bytes: number } | undefined {
    const entry = this.#entries.get(sha256);
    if (!entry) return undefined;
    this.#entries.delete(sha256);
    this.#entries.set(sha256, entry);
    const path = join(this.#dir, sha256);
    const nowMs = performance.now();
    if (nowMs - entry.touchedMs > TOUCH_INTERVAL_MS) {
      entry.touchedMs = nowMs;
      const now = new Date();
      void utimes(path, now, now).catch(() => {});
    }
    return { path, bytes: entry.bytes };
  }

  /** Keeps a verified shard; resolves to whether there was room. Never rejects: a full disk costs a download, not an answer. */
  put(sha256: string, bytes: Uint8Array): Promise<boolean> {
    const kept = this.#changed.then(() => this.#put(sha256, bytes).catch(() => false));
    this.#changed = kept.then(() => {});
    return kept;
  }

  /** Removes a shard that is damaged. */
  async delete(sha256: string): Promise<void> {
    const entry = this.#entries.get(sha256);
    if (!entry) return;
    this.#entries.delete(sha256);
    this.#bytes -= entry.bytes;
    await rm(join(this.#dir, sha256), { force: true }).catch(() => {});
  }

  /** Resolves when nothing is being written. */
  async settled(): Promise<void> {
    await this.#changed;
  }

  async #put(sha256: string, bytes: Uint8Array): Promise<boolean> {
    if (this.#entries.has(sha256)) return true;
    if (bytes.byteLength > this.#limitBytes) return false;
    await this.#makeRoom(bytes.byteLength);
    try {
      await this.#write(sha256, bytes);
    } catch (error) {
      const { code = '' } = error as NodeJS.ErrnoException;
      if (code !== 'ENOSPC' && code !== 'EDQUOT') return false;
      // The disk has less than the limit: once more with what two shards leave.
      await this.#evict(2 * bytes.byteLength);
      await this.#write(sha256, bytes);
    }
    this.#entries.set(sha256, { bytes: bytes.byteLength, touchedMs: performance.now() });
    this.#bytes += bytes.byteLength;
    return true;
  }

  async #write(sha256: string, bytes: Uint8Array): Promise<void> {
    const part = join(this.#dir, `${PART_PREFIX}${randomBytes(6).toString('hex')}`);
    try {
      await writeFile(part, bytes, { flag: 'wx' });
      await rename(part, join(this.#dir, sha256));
    } catch (error) {
      await rm(part, { force: true }).catch(() => {});
      throw error;
    }
  }

  #makeRoom(bytes: number): Promise<void> {
    return this.#evict(this.#bytes + bytes - this.#limitBytes);
  }

  /** Removes the least recently used until so many bytes are gone, or all. Those being read stay until they have been. */
  async #evict(bytes: number): Promise<void> {
    let left = bytes;
    for (const [sha256, entry] of this.#entries) {
      if (left <= 0) return;
      left -= entry.bytes;
      await this.delete(sha256);
    }
  }
}

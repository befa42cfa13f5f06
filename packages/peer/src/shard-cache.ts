import { ShardCacheError } from './errors.ts';

/** Where a donor's browser keeps shards between visits. Content is named by its SHA-256 and checked again when it comes out. */
export interface ShardCache {
  get(sha256: string): Promise<Uint8Array | undefined>;
  /** SHA-256 of each, in the order in which they were put. Throws ShardCacheError (`unavailable`). */
  names(): Promise<string[]>;
  /** Throws ShardCacheError (`quota`, `unavailable`). */
  put(sha256: string, bytes: Uint8Array): Promise<void>;
  delete(sha256: string): Promise<void>;
  /** Deletes what isn't in `keep`, oldest first, until at most `limitBytes` are left. What is in `keep` stays whatever its size. */
  prune(keep: ReadonlySet<string>, limitBytes: number): Promise<void>;
  /** Resolves with the bytes that were freed. */
  deleteAll(): Promise<number>;
  sizeBytes(): Promise<number>;
}

/** For tests, and for browsers that lend a page no storage (private windows): lasts as long as the tab. */
export class MemoryShardCache implements ShardCache {
  readonly entries = new Map<string, Uint8Array>();
  readonly #limitBytes: number;

  constructor(limitBytes = Number.POSITIVE_INFINITY) {
    this.#limitBytes = limitBytes;
  }

  async get(sha256: string): Promise<Uint8Array | undefined> {
    return this.entries.get(sha256);
  }

  async names(): Promise<string[]> {
    return [...this.entries.keys()];
  }

  async put(sha256: string, bytes: Uint8Array): Promise<void> {
    if ((await this.sizeBytes()) + bytes.byteLength > this.#limitBytes) {
      throw new ShardCacheError(
        'quota',
        `No room for another ${bytes.byteLength} bytes in a cache of ${this.#limitBytes}`,
      );
    }
    this.entries.set(sha256, bytes.slice());
  }

  async delete(sha256: string): Promise<void> {
    this.entries.delete(sha256);
  }

  async prune(keep: ReadonlySet<string>, limitBytes: number): Promise<void> {
    let leftBytes = await this.sizeBytes();
    for (const [sha256, bytes] of this.entries) {
      if (leftBytes <= limitBytes) return;
      if (keep.has(sha256)) continue;
      this.entries.delete(sha256);
      leftBytes -= bytes.byteLength;
    }
  }

  async deleteAll(): Promise<number> {
    const freedBytes = await this.sizeBytes();
    this.entries.clear();
    return freedBytes;
  }

  async sizeBytes(): Promise<number> {
    let total = 0;
    for (const bytes of this.entries.values()) total += bytes.byteLength;
    return total;
  }
}

/** Changes when the meaning of an entry does, so that an old one is never read as a new one. */
const CACHE_NAME = 'shoal-shards-v1';
/** Our own header: `content-length` of a constructed Response is not kept by every browser. */
const BYTES_HEADER = 'x-shoal-bytes';

/** Cache Storage: of a browser's stores the fastest to write whole shards to, and readable from a worker. */
export class CacheStorageShardCache implements ShardCache {
  readonly #storage: CacheStorage;

  constructor(storage: CacheStorage) {
    this.#storage = storage;
  }

  async get(sha256: string): Promise<Uint8Array | undefined> {
    const response = await (await this.#open()).match(keyOf(sha256));
    return response ? new Uint8Array(await response.arrayBuffer()) : undefined;
  }

  async names(): Promise<string[]> {
    if (!(await this.#storage.has(CACHE_NAME))) return [];
    // Cache Storage lists its entries in the order in which they were put.
    return (await (await this.#open()).keys()).map(nameOf);
  }

  async put(sha256: string, bytes: Uint8Array): Promise<void> {
    const headers = { [BYTES_HEADER]: String(bytes.byteLength), 'content-type': 'application/octet-stream' };
    const cache = await this.#open();
    try {
      await cache.put(keyOf(sha256), new Response(bytes as Uint8Array<ArrayBuffer>, { headers }));
    } catch (cause) {
      const quota = cause instanceof Error && cause.name === 'QuotaExceededError';
      throw new ShardCacheError(
        quota ? 'quota' : 'unavailable',
        quota ? 'The browser has no more room for this page’s data' : 'The browser’s storage did not take the weights',
        { cause },
      );
    }
  }

  async delete(sha256: string): Promise<void> {
    await (await this.#open()).delete(keyOf(sha256));
  }

  async prune(keep: ReadonlySet<string>, limitBytes: number): Promise<void> {
    let leftBytes = await this.sizeBytes();
    if (leftBytes <= limitBytes) return;
    const cache = await this.#open();
    for (const request of await cache.keys()) {
      if (leftBytes <= limitBytes) return;
      if (keep.has(nameOf(request))) continue;
      const response = await cache.match(request);
      await cache.delete(request);
      leftBytes -= Number(response?.headers.get(BYTES_HEADER));
    }
  }

  async deleteAll(): Promise<number> {
    const freedBytes = await this.sizeBytes();
    await this.#storage.delete(CACHE_NAME);
    return freedBytes;
  }

  async sizeBytes(): Promise<number> {
    if (!(await this.#storage.has(CACHE_NAME))) return 0;
    let total = 0;
    for (const response of await (await this.#open()).matchAll()) total += Number(response.headers.get(BYTES_HEADER));
    return total;
  }

  async #open(): Promise<Cache> {
    try {
      return await this.#storage.open(CACHE_NAME);
    } catch (cause) {
      throw new ShardCacheError('unavailable', 'This browser lends the page no storage', { cause });
    }
  }
}

function nameOf({ url }: Request): string {
  return url.slice(url.lastIndexOf('/') + 1);
}

/** Never fetched: a Cache Storage key has to look like an address. */
function keyOf(sha256: string): string {
  return `/shards/${sha256}`;
}

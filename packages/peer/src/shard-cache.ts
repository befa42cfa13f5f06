import { ShardCacheError } from './errors.ts';

/** Keeps shards between visits, named by their SHA-256. Readers verify the contents. */
export interface ShardCache {
  get(sha256: string): Promise<Uint8Array | undefined>;
  /** SHA-256 of each shard, oldest first. Throws ShardCacheError (`unavailable`). */
  names(): Promise<string[]>;
  /** Throws ShardCacheError (`quota`, `unavailable`). */
  put(sha256: string, bytes: Uint8Array): Promise<void>;
  delete(sha256: string): Promise<void>;
  /** Deletes shards that aren't in `keep`, oldest first, until at most `limitBytes` are left. */
  prune(keep: ReadonlySet<string>, limitBytes: number): Promise<void>;
  /** Resolves with the number of bytes freed. */
  deleteAll(): Promise<number>;
  sizeBytes(): Promise<number>;
}

/** A cache that lasts as long as the tab, for tests and for browsers without storage (private windows). */
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
        `No room for ${bytes.byteLength} more bytes in a cache of ${this.#limitBytes}`,
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

/** To be changed with the format of entries, so that old ones are never misread. */
const CACHE_NAME = 'shoal-shards-v1';
/** A header of our own, since not every browser keeps `content-length` of a constructed Response. */
const BYTES_HEADER = 'x-shoal-bytes';

/** Keeps shards in Cache Storage, the browser's fastest store for whole shards, which is also available to workers. */
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
    // Cache Storage lists its entries in insertion order.
    return (await (await this.#open()).keys()).map(nameOf);
  }

  async put(sha256: string, bytes: Uint8Array): Promise<void> {
    const headers = { [BYTES_HEADER]: String(bytes.byteLength), 'content-type': 'application/octet-stream' };
    const cache = await this.#open();
    try {
      await cache.put(keyOf(sha256), new Response(bytes as Uint8Array<ArrayBuffer>, { headers }));
    } catch (cause) {
      const isQuota = cause instanceof Error && cause.name === 'QuotaExceededError';
      throw isQuota
        ? new ShardCacheError('quota', 'The browser’s storage quota for this page is used up', { cause })
        : new ShardCacheError('unavailable', 'The browser could not store the weights', { cause });
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
      throw new ShardCacheError('unavailable', 'The browser does not give this page any storage', { cause });
    }
  }
}

function nameOf({ url }: Request): string {
  return url.slice(url.lastIndexOf('/') + 1);
}

/** Cache Storage keys must look like URLs; this one is never fetched. */
function keyOf(sha256: string): string {
  return `/shards/${sha256}`;
}

import { describe, expect, it } from 'vitest';
import { CacheStorageShardCache, MemoryShardCache, type ShardCache } from './shard-cache.ts';

const nameOf = (i: number): string => String(i).padStart(64, '0');
const bytesOf = (i: number): Uint8Array => new Uint8Array(10).fill(i);

/** Cache Storage as the Service Worker specification has it: keys in the order of their puts, a second put of one goes last. */
function cacheStorage(): CacheStorage {
  const caches = new Map<string, Map<string, Response>>();
  const urlOf = (key: string | Request): string => (typeof key === 'string' ? `https://shoal.test${key}` : key.url);
  const cacheOf = (entries: Map<string, Response>): Partial<Cache> => ({
    match: async (key) => entries.get(urlOf(key as string | Request))?.clone(),
    matchAll: async () => [...entries.values()].map((response) => response.clone()),
    keys: async () => [...entries.keys()].map((url) => new Request(url)),
    delete: async (key) => entries.delete(urlOf(key as string | Request)),
    put: async (key, response) => {
      entries.delete(urlOf(key as string | Request));
      entries.set(urlOf(key as string | Request), response);
    },
  });
  const storage: Partial<CacheStorage> = {
    has: async (name) => caches.has(name),
    open: async (name) => {
      if (!caches.has(name)) caches.set(name, new Map());
      return cacheOf(caches.get(name)!) as Cache;
    },
    delete: async (name) => caches.delete(name),
  };
  return storage as CacheStorage;
}

const CACHES: [string, () => ShardCache][] = [
  ['in memory', () => new MemoryShardCache()],
  ['in Cache Storage', () => new CacheStorageShardCache(cacheStorage())],
];

describe.each(CACHES)('a shard cache %s', (_, open) => {
  it('names what it holds in the order in which it was put, and nothing before or after', async () => {
    const cache = open();
    expect(await cache.names()).toEqual([]);
    for (const i of [3, 1, 2]) await cache.put(nameOf(i), bytesOf(i));
    expect(await cache.names()).toEqual([3, 1, 2].map(nameOf));
    await cache.delete(nameOf(1));
    expect(await cache.names()).toEqual([3, 2].map(nameOf));
    expect(await cache.deleteAll()).toBe(20);
    expect(await cache.names()).toEqual([]);
  });

  it('gives back what it names', async () => {
    const cache = open();
    for (const i of [5, 4]) await cache.put(nameOf(i), bytesOf(i));
    for (const name of await cache.names()) expect(await cache.get(name)).toEqual(bytesOf(Number(name)));
    expect(await cache.get(nameOf(6))).toBeUndefined();
  });

  it('is pruned from the oldest, but for what is to be kept', async () => {
    const cache = open();
    for (const i of [1, 2, 3, 4]) await cache.put(nameOf(i), bytesOf(i));
    await cache.prune(new Set([nameOf(1)]), 20);
    expect(await cache.names()).toEqual([1, 4].map(nameOf));
    expect(await cache.sizeBytes()).toBe(20);
  });
});

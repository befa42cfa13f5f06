import { CacheStorageShardCache, MemoryShardCache, type ShardCache } from '@shoal/peer';

/** The browser's storage for weights, of a page or a worker; memory where there is none, or the browser blocks the page's data. */
export function openShardCache(scope: { caches?: CacheStorage }): { cache: ShardCache; isLost: boolean } {
  try {
    if (scope.caches) return { cache: new CacheStorageShardCache(scope.caches), isLost: false };
  } catch {
    // Asking for it is forbidden.
  }
  return { cache: new MemoryShardCache(), isLost: true };
}

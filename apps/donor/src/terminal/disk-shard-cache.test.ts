import { mkdtemp, readdir, rm, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { DiskShardCache } from './disk-shard-cache.ts';

const nameOf = (i: number): string => String(i).padStart(64, '0');
const bytesOf = (i: number): Uint8Array => new Uint8Array(10).fill(i);

let dir: string;
let cache: DiskShardCache;

beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'shoal-donor-cache-'));
  cache = new DiskShardCache(join(dir, 'shards'));
});
afterEach(() => rm(dir, { recursive: true }));

/** Puts shards one second apart. */
async function put(...numbers: readonly number[]): Promise<void> {
  for (const i of numbers) {
    await cache.put(nameOf(i), bytesOf(i));
    await utimes(join(dir, 'shards', nameOf(i)), 1_700_000_000 + i, 1_700_000_000 + i);
  }
}

describe('DiskShardCache', () => {
  it('keeps shards for the next process, oldest first, and none before the first', async () => {
    expect([await cache.names(), await cache.sizeBytes(), await cache.get(nameOf(1))]).toEqual([[], 0, undefined]);
    await put(1, 2, 3);
    const next = new DiskShardCache(join(dir, 'shards'));
    expect(await next.names()).toEqual([1, 2, 3].map(nameOf));
    expect(new Uint8Array((await next.get(nameOf(2)))!)).toEqual(bytesOf(2));
    expect(await next.deleteAll()).toBe(30);
    expect(await next.sizeBytes()).toBe(0);
  });

  it('prunes the oldest of those that are not to be kept', async () => {
    await put(1, 2, 3, 4);
    await cache.prune(new Set([nameOf(1)]), 20);
    expect(await cache.names()).toEqual([1, 4].map(nameOf));
  });

  it('leaves other files alone, and removes parts that a killed process left an hour ago', async () => {
    await put(1);
    const old = new Date(Date.now() - 4_000_000);
    for (const name of ['notes.txt', '.part-new', '.part-old']) await writeFile(join(dir, 'shards', name), 'x');
    await utimes(join(dir, 'shards', '.part-old'), old, old);
    expect(await cache.names()).toEqual([nameOf(1)]);
    expect((await readdir(join(dir, 'shards'))).sort()).toEqual(['.part-new', nameOf(1), 'notes.txt']);
  });

  it('says why nothing can be kept', async () => {
    await writeFile(join(dir, 'shards'), 'a file where the folder should be');
    await expect(cache.put(nameOf(1), bytesOf(1))).rejects.toMatchObject({
      name: 'ShardCacheError',
      reason: 'unavailable',
    });
  });
});

import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { ShardCacheError, type ShardError } from './errors.ts';
import { makeShards, MODEL, ShardServer, urlOf } from './testing/tiny-peer.ts';
import { MemoryShardCache } from './shard-cache.ts';
import { ShardStore } from './shard-store.ts';

let server: ShardServer;
let cache: MemoryShardCache;
let store: ShardStore;
let sha256: string;
let bytes: Uint8Array<ArrayBuffer>;
let pausesMs: number[];
let cacheFailures: ShardCacheError[];
const never = new AbortController().signal;
const silent = { onBytes: () => {} };

function makeStore(): ShardStore {
  return new ShardStore({
    cache,
    urlOf,
    shardBytes: MODEL.shardBytes,
    fetch: server.fetch,
    onCacheFailure: (error) => cacheFailures.push(error),
    sleep: async (ms) => void pausesMs.push(ms),
  });
}

beforeEach(async () => {
  const { refs, bytesOf } = await makeShards([0], 2);
  sha256 = refs[0]!.sha256;
  bytes = bytesOf.get(sha256)!;
  server = new ShardServer(bytesOf);
  cache = new MemoryShardCache();
  pausesMs = [];
  cacheFailures = [];
  store = makeStore();
});

afterEach(() => vi.useRealTimers());

async function failure(work: Promise<unknown>): Promise<ShardError> {
  return work.then(
    () => expect.unreachable('should have failed'),
    (error: ShardError) => error,
  );
}

it('downloads, verifies and keeps a shard, so that another store finds it', async () => {
  const counted: number[] = [];
  expect(await store.download(sha256, { onBytes: (n) => counted.push(n) }, never)).toEqual(bytes);
  expect(counted.reduce((sum, n) => sum + n, 0)).toBe(MODEL.shardBytes);
  expect(await makeStore().fromCache(sha256)).toEqual(bytes);
  expect(server.requests).toEqual([sha256]);
});

it.each([
  ['a flipped bit', (kept: Uint8Array) => ((kept[5] = kept[5]! ^ 1), kept)],
  ['a missing end', (kept: Uint8Array) => kept.slice(0, -1)],
])('does not believe a kept shard with %s, and deletes it', async (_, damage) => {
  cache.entries.set(sha256, damage(bytes.slice()));
  expect(await store.fromCache(sha256)).toBeUndefined();
  expect(cache.entries.has(sha256)).toBe(false);
});

it('tries again after a server error, waiting longer each time and at least as long as it is asked to', async () => {
  server.answer = (_, attempt) =>
    attempt <= 3
      ? new Response(null, { status: 503, ...(attempt === 3 && { headers: { 'retry-after': '9' } }) })
      : undefined;
  expect(await store.download(sha256, silent, never)).toEqual(bytes);
  expect(pausesMs.length).toBe(3);
  expect(pausesMs[0]).toBeGreaterThanOrEqual(250);
  expect(pausesMs[1]).toBeGreaterThanOrEqual(500);
  expect(pausesMs[2]).toBe(9000);
});

it('waits as long as it is asked to while the coordinator shares out its bandwidth, and counts no failure', async () => {
  server.answer = (_, attempt) =>
    attempt <= 10 ? new Response(null, { status: 429, headers: { 'retry-after': '20' } }) : undefined;
  expect(await store.download(sha256, silent, never)).toEqual(bytes);
  expect(pausesMs).toHaveLength(10);
  for (const pauseMs of pausesMs) {
    expect(pauseMs).toBeGreaterThanOrEqual(20_000);
    expect(pauseMs).toBeLessThanOrEqual(30_000);
  }
});

it('gives up when its turn never comes', async () => {
  server.answer = () => new Response(null, { status: 429, headers: { 'retry-after': '86400' } });
  expect((await failure(store.download(sha256, silent, never))).reason).toBe('http');
  const waitedMs = pausesMs.reduce((sum, pauseMs) => sum + pauseMs, 0);
  expect(waitedMs).toBeGreaterThanOrEqual(600_000);
  expect(Math.max(...pausesMs)).toBeLessThanOrEqual(90_000);
});

it('gives up in the end, and takes back what failed attempts had brought', async () => {
  const half = bytes.slice(0, 100);
  server.answer = () => {
    let sent = false;
    const pull = (controller: ReadableStreamDefaultController) => {
      if (sent) controller.error(new TypeError('network error'));
      else controller.enqueue(half);
      sent = true;
    };
    return new Response(new ReadableStream({ pull }, { highWaterMark: 0 }));
  };
  let counted = 0;
  const error = await failure(store.download(sha256, { onBytes: (n) => (counted += n) }, never));
  expect(error.reason).toBe('network');
  expect(server.requests.length).toBe(6);
  expect(counted).toBe(0);
});

it('asks only once for what the coordinator does not have', async () => {
  server.answer = () => new Response(null, { status: 404 });
  expect((await failure(store.download(sha256, silent, never))).reason).toBe('http');
  expect(server.requests.length).toBe(1);
});

it('asks twice, not more, for contents that are wrong', async () => {
  server.answer = () => new Response(bytes.map((byte, i) => (i === 3 ? byte ^ 1 : byte)));
  expect((await failure(store.download(sha256, silent, never))).reason).toBe('hash');
  expect(server.requests.length).toBe(2);
  expect(cache.entries.size).toBe(0);
});

it('reads no more of an endless answer than a shard has', async () => {
  let sentBytes = 0;
  let cancelled = 0;
  server.answer = () =>
    new Response(
      new ReadableStream({
        pull: (controller) => {
          sentBytes += 1000;
          controller.enqueue(new Uint8Array(1000));
        },
        cancel: () => void cancelled++,
      }),
    );
  expect((await failure(store.download(sha256, silent, never))).reason).toBe('size');
  expect(cancelled).toBe(2);
  expect(sentBytes).toBeLessThan(2 * (MODEL.shardBytes + 3000));
});

it('gives up an attempt that brings nothing for 20 seconds', async () => {
  vi.useFakeTimers();
  server.answer = (_, attempt, signal) =>
    attempt === 1
      ? new Promise((_, reject) => signal!.addEventListener('abort', () => reject(signal!.reason as Error)))
      : undefined;
  const downloaded = store.download(sha256, silent, never);
  await vi.advanceTimersByTimeAsync(20_000);
  vi.useRealTimers();
  expect(await downloaded).toEqual(bytes);
  expect(server.requests.length).toBe(2);
});

it('shares one download among all who want the shard, and ends it when the last has gone', async () => {
  let aborted = false;
  server.answer = (_, __, signal) =>
    new Promise((_, reject) => {
      signal!.addEventListener('abort', () => {
        aborted = true;
        reject(signal!.reason as Error);
      });
    });
  const one = new AbortController();
  const two = new AbortController();
  const first = failure(store.download(sha256, silent, one.signal));
  const second = failure(store.download(sha256, silent, two.signal));
  one.abort();
  expect((await first).reason).toBe('cancelled');
  expect(aborted).toBe(false);
  two.abort();
  expect((await second).reason).toBe('cancelled');
  expect(aborted).toBe(true);
  expect(server.requests.length).toBe(1);
  server.answer = () => undefined;
  expect(await store.download(sha256, silent, never)).toEqual(bytes);
});

it('works on without a cache that is full, and says so once', async () => {
  cache = new MemoryShardCache(10);
  store = makeStore();
  expect(await store.download(sha256, silent, never)).toEqual(bytes);
  expect(await store.download(sha256, silent, never)).toEqual(bytes);
  expect(cacheFailures.map((error) => error.reason)).toEqual(['quota']);
});

it('lets go of the oldest shards that nobody wants', async () => {
  for (const name of ['a', 'b', 'c', 'd']) await cache.put(name, new Uint8Array(10));
  await store.prune(new Set(['a']), 25);
  expect([...cache.entries.keys()]).toEqual(['a', 'd']);
});

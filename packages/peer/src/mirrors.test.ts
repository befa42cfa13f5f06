import { beforeEach, describe, expect, it, vi } from 'vitest';
import { Mirrors } from './mirrors.ts';
import { MemoryShardCache } from './shard-cache.ts';
import { ShardStore } from './shard-store.ts';
import { makeShards, MODEL, ShardServer, urlOf } from './testing/tiny-peer.ts';

const FIRST = 'https://first.example/{sha256}?token=a';
const SECOND = 'https://second.example/{sha256}';
const never = new AbortController().signal;

let nowMs: number;
let names: string[];
let contents: ReadonlyMap<string, Uint8Array<ArrayBuffer>>;
/** Hosts that were asked, in order. */
let asked: string[];
/** How a mirror answers: by its host, with the shard by default. */
let answers: Record<string, (bytes: Uint8Array<ArrayBuffer>, signal: AbortSignal) => Response | Promise<Response>>;
let mirrors: Mirrors;
let store: ShardStore;
let fetched: Record<string, number>;

beforeEach(async () => {
  const { refs, bytesOf } = await makeShards([0], 6);
  names = refs.map(({ sha256 }) => sha256);
  contents = bytesOf;
  nowMs = 0;
  asked = [];
  answers = {};
  fetched = {};
  const coordinator = new ShardServer(bytesOf);
  const fetchFrom = async (url: unknown, init: RequestInit = {}): Promise<Response> => {
    if (String(url).startsWith('/shards/')) {
      asked.push('coordinator');
      return coordinator.fetch(url, init);
    }
    const { host, pathname, search } = new URL(String(url));
    asked.push(host + search);
    const bytes = contents.get(pathname.slice(1))!;
    return (answers[host] ?? ((whole) => new Response(whole)))(bytes, init.signal!);
  };
  mirrors = new Mirrors({ fetch: fetchFrom as typeof fetch, now: () => nowMs });
  mirrors.use([FIRST, SECOND]);
  store = new ShardStore({
    cache: new MemoryShardCache(),
    urlOf,
    shardBytes: MODEL.shardBytes,
    fetch: fetchFrom as typeof fetch,
    sources: [mirrors],
    onFetched: (origin, bytes) => (fetched[origin] = (fetched[origin] ?? 0) + bytes),
    onCacheFailure: () => {},
    sleep: async () => {},
  });
});

/** Downloads a shard and returns who was asked for it. */
async function download(i: number): Promise<string[]> {
  asked = [];
  let counted = 0;
  const observer = { onBytes: (bytes: number) => (counted += bytes) };
  expect(await store.download(names[i]!, observer, never)).toEqual(contents.get(names[i]!));
  expect(counted).toBe(MODEL.shardBytes);
  return asked;
}

describe('Mirrors', () => {
  it('are asked in their order, before the coordinator, with what the URL has in its query', async () => {
    expect(await download(0)).toEqual(['first.example?token=a']);
    expect(fetched).toEqual({ mirror: MODEL.shardBytes });
  });

  const broken: [string, (bytes: Uint8Array<ArrayBuffer>, signal: AbortSignal) => Response, string][] = [
    ['an error', () => new Response('', { status: 503 }), 'http'],
    ['a shard that it lacks', () => new Response('', { status: 404 }), 'http'],
    ['wrong bytes', (bytes) => new Response(bytes.map((byte, i) => (i === 7 ? byte ^ 1 : byte))), 'wrong-bytes'],
    ['too few bytes', (bytes) => new Response(bytes.slice(1)), 'wrong-bytes'],
    ['no end', (bytes) => new Response(endless(bytes)), 'wrong-bytes'],
  ];
  it.each(broken)('with %s are left alone for a while, and cost no shard', async (_, answer, fault) => {
    answers['first.example'] = answer;
    expect(await download(0)).toEqual(['first.example?token=a', 'second.example']);
    expect(await download(1)).toEqual(['second.example']);
    expect(mirrors.takeFaults()).toEqual([{ mirror: 0, fault }]);
    answers['second.example'] = () => Promise.reject(new TypeError('Failed to fetch'));
    expect(await download(2)).toEqual(['second.example', 'coordinator']);
    expect(await download(3)).toEqual(['coordinator']);
    expect(mirrors.takeFaults()).toEqual([{ mirror: 1, fault: 'network' }]);
    expect(fetched).toEqual({ mirror: 2 * MODEL.shardBytes, coordinator: 2 * MODEL.shardBytes });
  });

  it('are asked again later, and later still if they fail again', async () => {
    mirrors.use([FIRST]);
    const fails = () => new Response('', { status: 500 });
    answers['first.example'] = fails;
    await download(0);
    nowMs += 9_999;
    expect(await download(1)).toEqual(['coordinator']);
    nowMs += 1;
    expect(await download(2)).toEqual(['first.example?token=a', 'coordinator']);
    nowMs += 39_999;
    expect(await download(3)).toEqual(['coordinator']);
    nowMs += 1;
    delete answers['first.example'];
    expect(await download(4)).toEqual(['first.example?token=a']);
    answers['first.example'] = fails;
    await download(5);
    nowMs += 10_000;
    delete answers['first.example'];
    expect(await download(0)).toEqual(['first.example?token=a']);
  });

  it('that answer several downloads at a time with errors have failed once', async () => {
    mirrors.use([FIRST]);
    answers['first.example'] = () => new Response('', { status: 500 });
    await Promise.all([0, 1, 2, 3].map((i) => store.download(names[i]!, { onBytes: () => {} }, never)));
    nowMs += 10_000;
    delete answers['first.example'];
    expect(await download(4)).toEqual(['first.example?token=a']);
  });

  it('that are silent or trickle are given up', async () => {
    vi.useFakeTimers();
    try {
      answers['first.example'] = (_, signal) => new Promise((_resolve, reject) => onAbort(signal, reject));
      answers['second.example'] = (bytes, signal) => new Response(trickle(bytes, signal));
      const done = download(0);
      for (let s = 0; s < 30; s++) await vi.advanceTimersByTimeAsync(1_000);
      expect(await done).toEqual(['first.example?token=a', 'second.example', 'coordinator']);
    } finally {
      vi.useRealTimers();
    }
    expect(mirrors.takeFaults()).toEqual([
      { mirror: 0, fault: 'timeout' },
      { mirror: 1, fault: 'slow' },
    ]);
  });

  it('cost nothing when the download is no longer wanted', async () => {
    const controller = new AbortController();
    answers['first.example'] = (_, signal) => new Promise((_resolve, reject) => onAbort(signal, reject));
    const download = store.download(names[0]!, { onBytes: () => {} }, controller.signal);
    await expect.poll(() => asked).toHaveLength(1);
    controller.abort();
    await expect(download).rejects.toMatchObject({ reason: 'cancelled' });
    expect(mirrors.takeFaults()).toEqual([]);
  });
});

function onAbort(signal: AbortSignal, reject: (reason: unknown) => void): void {
  signal.addEventListener('abort', () => reject(new DOMException('aborted', 'AbortError')));
}

/** One byte a second. */
function trickle(bytes: Uint8Array<ArrayBuffer>, signal: AbortSignal): ReadableStream {
  let at = 0;
  return new ReadableStream({
    start: (controller) => {
      const timer = setInterval(() => controller.enqueue(bytes.slice(at, ++at)), 1_000);
      onAbort(signal, (reason) => {
        clearInterval(timer);
        controller.error(reason);
      });
    },
  });
}

function endless(bytes: Uint8Array<ArrayBuffer>): ReadableStream {
  return new ReadableStream({ pull: (controller) => controller.enqueue(bytes) });
}

import { encodeShardFrame, type Seek, type SeekReply } from '@shoal/protocol';
import { memoryChannelPair } from '@shoal/transport';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { sha256Hex } from '../fetch-shard.ts';
import { MemoryShardCache } from '../shard-cache.ts';
import { loadShards } from '../shard-load.ts';
import { ShardStore } from '../shard-store.ts';
import { TabExchange } from './tab-exchange.ts';
import { UploadLine } from './upload-line.ts';

const SHARD_BYTES = 150_000;
const MBIT = 1e6;

let shards: Map<string, Uint8Array<ArrayBuffer>>;
let names: string[];
/** Shards that were fetched from the coordinator, by tab. */
let coordinator: { tab: string; sha256: string }[];
let tabs: Map<string, Tab>;

beforeEach(async () => {
  const made = await Promise.all(
    [0, 1, 2, 3].map(async (seed) => {
      const bytes = Uint8Array.from({ length: SHARD_BYTES }, (_, i) => (i * 3 + seed) % 251);
      return [await sha256Hex(bytes), bytes] as const;
    }),
  );
  shards = new Map(made);
  names = [...shards.keys()];
  coordinator = [];
  tabs = new Map();
});
afterEach(() => {
  for (const { exchange } of tabs.values()) exchange.stop();
  vi.useRealTimers();
});

interface Tab {
  exchange: TabExchange;
  store: ShardStore;
  cache: MemoryShardCache;
  seeks: Seek[];
  given: number;
  isIdle: boolean;
  answer: (seek: Seek) => SeekReply | Promise<SeekReply>;
  fetched: Record<string, number>;
}

function makeTab(name: string, has: readonly string[] = []): Tab {
  const cache = new MemoryShardCache();
  for (const sha256 of has) cache.entries.set(sha256, shards.get(sha256)!);
  const exchange = new TabExchange({
    seek: async (message) => {
      tab.seeks.push(message);
      return tab.answer(message);
    },
    bytesOf: (sha256) => store.fromCache(sha256),
    isIdle: () => tab.isIdle,
    onGiven: (bytes) => (tab.given += bytes),
  });
  const fetched: Record<string, number> = {};
  const store = new ShardStore({
    cache,
    urlOf: (sha256) => sha256,
    shardBytes: SHARD_BYTES,
    fetch: (async (sha256: string) => {
      coordinator.push({ tab: name, sha256 });
      return new Response(shards.get(sha256)!);
    }) as typeof fetch,
    sources: [exchange],
    onFetched: (origin, bytes) => (fetched[origin] = (fetched[origin] ?? 0) + bytes),
    onKept: (sha256) => exchange.has(sha256),
    onCacheFailure: () => {},
  });
  const tab: Tab = {
    exchange,
    store,
    cache,
    seeks: [],
    given: 0,
    isIdle: true,
    answer: ({ wanted }) => ({ routes: wanted.map((shard) => ({ shard })) }),
    fetched,
  };
  tabs.set(name, tab);
  exchange.start(1000 * MBIT);
  return tab;
}

function link(a: string, b: string): ReturnType<typeof memoryChannelPair> {
  const wire = memoryChannelPair();
  tabs.get(a)!.exchange.attach(b, wire.a);
  tabs.get(b)!.exchange.attach(a, wire.b);
  return wire;
}

/** Loads the shards as an assignment does; resolves to how many came, all of them right. */
async function load(tab: Tab, wanted: readonly string[]): Promise<number> {
  const loaded = new Map<string, Uint8Array>();
  await loadShards({
    store: tab.store,
    shards: wanted.map((sha256, expert) => ({ layer: 0, expert, sha256 })),
    shardBytes: SHARD_BYTES,
    deliver: async ({ sha256 }, bytes) => void loaded.set(sha256, bytes),
    onProgress: () => {},
    choose: (left, signal) => tab.exchange.choose(left, signal),
    signal: new AbortController().signal,
  });
  for (const [sha256, bytes] of loaded) expect(Buffer.compare(bytes, shards.get(sha256)!)).toBe(0);
  return loaded.size;
}

const from =
  (tab: string) =>
  ({ wanted }: Seek): SeekReply => ({ routes: wanted.map((shard) => ({ shard, tab })) });

describe('TabExchange', () => {
  it('takes shards from the tab that the coordinator names, and tells what it has then', async () => {
    const giver = makeTab('giver', names);
    const taker = makeTab('taker');
    taker.answer = from('giver');
    link('taker', 'giver');
    expect(await load(taker, names)).toBe(4);
    expect(coordinator).toEqual([]);
    expect(taker.fetched).toEqual({ tab: 4 * SHARD_BYTES });
    expect(giver.given).toBe(4 * SHARD_BYTES);
    await expect.poll(() => taker.seeks.flatMap(({ have }) => have)).toHaveLength(4);
  });

  it('waits for a link that is still being opened, and for a shard that nobody has yet', async () => {
    makeTab('giver', names);
    const taker = makeTab('taker');
    let asked = 0;
    taker.answer = (seek) => (asked++ === 0 ? { routes: [] } : from('giver')(seek));
    const loading = load(taker, names.slice(0, 1));
    await expect.poll(() => asked).toBe(2);
    link('taker', 'giver');
    expect(await loading).toBe(1);
    expect(coordinator).toEqual([]);
  });

  it('refuses wrong bytes, tells of them, and asks the coordinator', async () => {
    const giver = makeTab('giver', names);
    giver.store.fromCache = async (sha256) => shards.get(sha256)!.map((byte, i) => (i === 99 ? byte ^ 1 : byte));
    const taker = makeTab('taker');
    taker.answer = from('giver');
    link('taker', 'giver');
    expect(await load(taker, names.slice(0, 1))).toBe(1);
    expect(coordinator).toEqual([{ tab: 'taker', sha256: names[0] }]);
    const fault = { tab: 'giver', shard: names[0]!.slice(0, 16), fault: 'wrong-bytes' };
    await expect.poll(() => taker.seeks.flatMap(({ faults }) => faults)).toEqual([fault]);
  });

  it('asks the coordinator for what the other tab lacks, or does not send', async () => {
    const giver = makeTab('giver', names.slice(1));
    const taker = makeTab('taker');
    taker.answer = from('giver');
    const wire = link('taker', 'giver');
    expect(await load(taker, names.slice(0, 1))).toBe(1);
    giver.isIdle = false;
    const loading = load(taker, names.slice(1, 2));
    await expect.poll(() => taker.seeks.length).toBeGreaterThan(1);
    wire.die('abrupt');
    expect(await loading).toBe(1);
    await vi.waitFor(() =>
      expect(taker.seeks.flatMap(({ faults }) => faults.map(({ fault }) => fault))).toEqual(['lacking', 'stalled']),
    );
    expect(coordinator).toHaveLength(2);
  });

  it('gives up a tab that sends nothing for a while, and one that cannot be reached', async () => {
    vi.useFakeTimers();
    makeTab('giver', names).isIdle = false;
    const taker = makeTab('taker');
    taker.answer = from('giver');
    link('taker', 'giver');
    const loading = load(taker, names.slice(0, 1));
    await vi.advanceTimersByTimeAsync(6_000);
    expect(await loading).toBe(1);
    taker.answer = from('nobody');
    const next = load(taker, names.slice(1, 2));
    await vi.advanceTimersByTimeAsync(11_000);
    expect(await next).toBe(1);
    await vi.advanceTimersByTimeAsync(1_000);
    expect(taker.seeks.flatMap(({ faults }) => faults.map(({ fault }) => fault))).toEqual(['stalled', 'unreachable']);
  });

  it('sends nothing during its own laps', async () => {
    const giver = makeTab('giver', names);
    giver.isIdle = false;
    const taker = makeTab('taker');
    taker.answer = from('giver');
    const { b } = link('taker', 'giver');
    const sent: number[] = [];
    const send = b.send.bind(b);
    b.send = (data) => {
      sent.push(data.byteLength);
      send(data);
    };
    const loading = load(taker, names.slice(0, 1));
    await new Promise((resolve) => setTimeout(resolve, 50));
    expect(sent.filter((bytes) => bytes > 1000)).toEqual([]);
    giver.isIdle = true;
    await loading;
    expect(sent.filter((bytes) => bytes > 1000).length).toBeGreaterThan(2);
  });

  it('waits for no coordinator that does not answer, and for none when it is off', async () => {
    const taker = makeTab('taker');
    taker.answer = () => Promise.reject(new Error('gone'));
    await load(taker, names);
    taker.exchange.stop();
    const seeks = taker.seeks.length;
    await load(taker, names);
    expect(coordinator.length).toBe(4);
    expect(taker.seeks.length).toBe(seeks);
  });

  it('ends a link on which another tab breaks the protocol or asks for too much', async () => {
    const giver = makeTab('giver', names);
    giver.isIdle = false;
    for (const frames of [[Uint8Array.of(9)], Array.from({ length: 17 }, (_, id) => askFrame(id, names[0]!))]) {
      const wire = memoryChannelPair();
      giver.exchange.attach('stranger', wire.b);
      for (const [i, frame] of frames.entries()) wire.a.send(message(i, frame));
      await expect.poll(() => wire.b.readyState).toBe('closed');
    }
  });
});

describe('UploadLine', () => {
  it('keeps to its rate', async () => {
    vi.useFakeTimers();
    const line = new UploadLine({
      isIdle: () => true,
      now: () => performance.now(),
      sleep: (ms) => new Promise((resolve) => setTimeout(resolve, ms)),
    });
    line.setRate(8 * MBIT);
    const startedMs = performance.now();
    const all = Promise.all(Array.from({ length: 20 }, () => line.pass(50_000)));
    let tookMs = 0;
    void all.then(() => (tookMs = performance.now() - startedMs));
    await vi.advanceTimersByTimeAsync(5_000);
    // 1 MB at 1 MB a second, less the burst and the last part.
    expect(tookMs).toBeGreaterThanOrEqual(850);
    expect(tookMs).toBeLessThanOrEqual(1000);
  });
});

/** A frame that is one message, as the fragment layer writes it. */
function message(id: number, frame: Uint8Array): Uint8Array<ArrayBuffer> {
  return Uint8Array.of(1, id, 0, 0, ...frame);
}

function askFrame(id: number, sha256: string): Uint8Array {
  return encodeShardFrame({ kind: 'ask', id, sha256 });
}

import type { ExpertAdapter, LowRank } from '@shoal/model';
import type { AdapterShards as AdaptersMessage } from '@shoal/protocol';
import { beforeEach, describe, expect, it, vi } from 'vitest';
import { AdapterShards } from '../adapters/adapter-shards.ts';
import { systemClock } from '../base/clock.ts';
import { PeerAdapters } from './peer-adapters.ts';

const EXPERTS = 6;
const down: LowRank = { rank: 1, inDim: 4, outDim: 4, a: new Float32Array(4), b: new Float32Array(4) };

let shards: AdapterShards;
let nowMs: number;
let roomShards: number;
let lost: Set<number>;
let isRight: boolean;
let sent: AdaptersMessage[];
let noRoom: string[];
let evicted: number;
let peer: PeerAdapters;
let adapters: ExpertAdapter[];

beforeEach(() => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
  shards = new AdapterShards();
  adapters = Array.from({ length: EXPERTS }, () => ({ down }));
  shards.add('style', new Map([[1, new Map(adapters.map((adapter, expert) => [expert, adapter]))]]));
  [nowMs, roomShards, isRight, evicted] = [0, 3, true, 0];
  [lost, sent, noRoom] = [new Set(), [], []];
  peer = new PeerAdapters({
    shards,
    clock: { ...systemClock, now: () => nowMs },
    send: (message) => sent.push(message),
    roomBytes: () => roomShards * bytesOf(0),
    hasExpert: (_, expert) => !lost.has(expert),
    test: async () => isRight,
    onNoRoom: ({ name }) => noRoom.push(name),
    onEvicted: (count) => (evicted += count),
  });
  return () => vi.useRealTimers();
});

const bytesOf = (i: number): number => shards.of(adapters[i]!)!.bytes;
const numbers = (...of: number[]): number[] => of.map((i) => shards.of(adapters[i]!)!.number);
const turns = async (): Promise<void> => {
  for (let i = 0; i < 20; i++) await new Promise((resolve) => setImmediate(resolve));
};

/** Asks for some, and has the tab hold what it was asked for. */
async function hold(...of: number[]): Promise<void> {
  for (const i of of) peer.want(adapters[i]!);
  await turns();
  const asked = sent.at(-1)!.add.map(({ number }) => number);
  await peer.adapted({ held: asked, refused: [], gone: [], bytes: 0 });
  await turns();
}
const served = (): number[] => [...adapters.keys()].filter((i) => peer.serves(adapters[i]!));

describe('the low-rank shards of a tab', () => {
  it('are asked for once, and served once the tab has them and was right', async () => {
    for (let i = 0; i < 3; i++) for (const one of [0, 1]) peer.want(adapters[one]!);
    await turns();
    expect(sent).toMatchObject([
      {
        drop: [],
        add: [
          { layer: 1, expert: 0 },
          { layer: 1, expert: 1 },
        ],
      },
    ]);
    expect(shards.shard(sent[0]!.add[0]!.sha256)!.bytes).toBe(bytesOf(0));
    // One message at a time.
    peer.want(adapters[2]!);
    await turns();
    expect(sent).toHaveLength(1);
    expect(served()).toEqual([]);
    await peer.adapted({ held: numbers(0, 4), refused: numbers(1), gone: [], bytes: 0 });
    await turns();
    expect(served()).toEqual([0]);
    expect(sent[1]).toMatchObject({ add: [{ expert: 2 }] });
    // Refused, it is not asked for again at once.
    peer.want(adapters[1]!);
    await peer.adapted({ held: numbers(2), refused: [], gone: [], bytes: 0 });
    nowMs = 31_000;
    peer.want(adapters[1]!);
    await turns();
    expect(sent[2]).toMatchObject({ add: [{ expert: 1 }] });
  });

  it('never serve where the tab was wrong about them', async () => {
    isRight = false;
    await hold(0);
    expect(served()).toEqual([]);
    expect(sent[1]).toEqual({ drop: numbers(0), add: [] });
  });

  it('give way to others, the least recently used first, but not while they are in use', async () => {
    await hold(0, 1, 2);
    peer.want(adapters[3]!);
    await turns();
    expect([noRoom, sent.length, evicted]).toEqual([['style'], 1, 0]);
    nowMs = 40_000;
    expect(peer.serves(adapters[0]!)).toBe(true);
    await hold(3);
    expect(sent.slice(1).map(({ drop, add }) => [drop, add.length])).toEqual([
      [numbers(1), 0],
      [[], 1],
    ]);
    expect([served(), evicted, peer.bytes]).toEqual([[0, 2, 3], 1, 3 * bytesOf(0)]);
  });

  it('leave room for experts, and go with theirs', async () => {
    await hold(0, 1, 2);
    lost.add(1);
    roomShards = 1;
    peer.fit();
    // The tab gives up by itself what is of no expert.
    expect([sent.at(-1), served(), evicted]).toEqual([{ drop: numbers(0), add: [] }, [2], 1]);
    await peer.adapted({ held: [], refused: [], gone: numbers(2), bytes: 0 });
    expect([served(), evicted]).toEqual([[], 2]);
  });

  it('are given up when they are unloaded, also while they are on their way', async () => {
    await hold(0);
    peer.want(adapters[1]!);
    await turns();
    peer.drop(adapters);
    expect(sent.at(-1)).toEqual({ drop: numbers(0, 1), add: [] });
    await peer.adapted({ held: numbers(1), refused: [], gone: [], bytes: 0 });
    expect(served()).toEqual([]);
    shards.remove(new Map([[1, new Map(adapters.map((adapter, expert) => [expert, adapter]))]]));
    peer.want(adapters[0]!);
    await turns();
    expect(sent).toHaveLength(3);
  });

  it('are no longer waited for after a minute', async () => {
    peer.want(adapters[0]!);
    await turns();
    vi.advanceTimersByTime(60_000);
    expect(sent.at(-1)).toEqual({ drop: numbers(0), add: [] });
    await hold(1);
    expect(served()).toEqual([1]);
  });
});

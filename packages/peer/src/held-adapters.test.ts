import { createReferenceBackend, type ExpertBackend } from '@shoal/kernels';
import type { Adapted, AdapterShardRef, DispatchFrame } from '@shoal/protocol';
import { lowRankBytes, packAdapter } from '@shoal/weights';
import { beforeEach, describe, expect, it } from 'vitest';
import { HeldAdapters } from './held-adapters.ts';
import { MemoryShardCache } from './shard-cache.ts';
import { sha256Hex } from './fetch-shard.ts';
import { ShardStore } from './shard-store.ts';

const SHAPE = { hiddenSize: 4, moeIntermediateSize: 4, quant: 'f16' } as const;
const BYTES = 64 + lowRankBytes({ rank: 1, inDim: 4, outDim: 4 });

let roomBytes: number;
let experts: Set<number>;
let answers: Adapted[];
let bytesOf: Map<string, Uint8Array<ArrayBuffer>>;
let backend: ExpertBackend | undefined;
let held: HeldAdapters;
let store: ShardStore;

beforeEach(() => {
  [roomBytes, experts, answers, bytesOf] = [3 * BYTES, new Set([0, 1, 2, 3, 4]), [], new Map()];
  backend = createReferenceBackend(SHAPE);
  held = new HeldAdapters({
    holdsExpert: (_, expert) => experts.has(expert),
    roomBytes: () => roomBytes,
    onAdapted: (adapted) => answers.push(adapted),
  });
  store = new ShardStore({
    cache: new MemoryShardCache(),
    urlOf: (sha256) => sha256,
    shardBytes: 1,
    fetch: async (url) =>
      new Response(bytesOf.get(String(url)) ?? null, { status: bytesOf.has(String(url)) ? 200 : 404 }),
    onCacheFailure: () => {},
  });
});

/** Adds something else to each expert. */
async function refOf(number: number, expert = number): Promise<AdapterShardRef> {
  const values = (): Float32Array => new Float32Array(4).fill(number + 1);
  const shard = packAdapter({ down: { rank: 1, inDim: 4, outDim: 4, a: values(), b: values() } });
  const sha256 = await sha256Hex(shard);
  bytesOf.set(sha256, shard);
  return { number, layer: 1, expert, sha256, bytes: shard.byteLength };
}

async function add(...numbers: number[]): Promise<Adapted> {
  const message = { drop: [], add: await Promise.all(numbers.map((number) => refOf(number))) };
  await held.apply(message, store, () => backend);
  const { held: now, ...rest } = answers.at(-1)!;
  return { ...rest, held: now.toSorted((a, b) => a - b) };
}

/** A frame that names one shard for one expert of layer 1. */
const frame = (number: number, expert = number): DispatchFrame => {
  const adapterNumbers = {
    ends: Uint32Array.of(1),
    of: Uint32Array.of(0),
    scales: new Float32Array(3),
    experts: [number],
  };
  return { layer: 1, experts: Uint16Array.of(expert), adapterNumbers } as unknown as DispatchFrame;
};

describe('the low-rank shards of a tab', () => {
  it('are held in the room that experts leave, where the least recently used give way', async () => {
    // One after the other: those of one message are as recent as their downloads, which end in any order.
    for (const number of [0, 1]) expect(await add(number)).toMatchObject({ held: [number] });
    expect(await add(2)).toEqual({ held: [2], refused: [], gone: [], bytes: 3 * BYTES });
    expect(held.of(frame(0))!.experts).toHaveLength(1);
    expect(await add(3)).toEqual({ held: [3], refused: [], gone: [1], bytes: 3 * BYTES });
    roomBytes = BYTES;
    held.fit();
    expect(answers.at(-1)).toEqual({ held: [], refused: [], gone: [2, 0], bytes: BYTES });
    roomBytes = BYTES - 1;
    expect(await add(4)).toMatchObject({ held: [], refused: [4], gone: [] });
  });

  it('go with their experts, and are of no other', async () => {
    await add(0, 1);
    expect(held.of(frame(0, 1))).toBeUndefined();
    expect(held.of(frame(9, 0))).toBeUndefined();
    experts.delete(0);
    held.fit();
    expect([held.of(frame(0)), held.bytes]).toEqual([undefined, BYTES]);
    expect(await add(0)).toMatchObject({ held: [], refused: [0] });
  });

  it('are refused if they cannot be had, or are not what was named', async () => {
    const [missing, wrong, large, bad] = await Promise.all([0, 1, 2, 3].map((number) => refOf(number)));
    bytesOf.delete(missing!.sha256);
    bytesOf.set(wrong!.sha256, bytesOf.get(bad!.sha256)!);
    const noShard = new Uint8Array(BYTES);
    const named = { ...bad!, sha256: await sha256Hex(noShard) };
    bytesOf.set(named.sha256, noShard);
    const add = [missing!, wrong!, { ...large!, bytes: BYTES - 4 }, named];
    await held.apply({ drop: [], add }, store, () => backend);
    expect(answers[0]!.refused.toSorted((a, b) => a - b)).toEqual([0, 1, 2, 3]);
    expect(held.bytes).toBe(0);
  });

  it('are not held if they are dropped, or the backend is lost, while they are fetched', async () => {
    const add = [await refOf(0), await refOf(1)];
    const applied = held.apply({ drop: [], add }, store, () => backend);
    await Promise.resolve();
    void held.apply({ drop: [0], add: [] }, store, () => backend);
    await applied;
    expect(answers[0]).toMatchObject({ held: [1], refused: [0], bytes: BYTES });
    const later = held.apply({ drop: [], add: [await refOf(2)] }, store, () => backend);
    backend = undefined;
    held.clear();
    await later;
    expect([answers[1], held.bytes]).toMatchObject([{ held: [], refused: [2] }, 0]);
  });
});

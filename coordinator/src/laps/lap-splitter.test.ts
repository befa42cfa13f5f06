import type { MoeCall } from '@shoal/model';
import { beforeEach, describe, expect, it } from 'vitest';
import { Dispatcher } from './dispatcher.ts';
import { call, every, EXPERTS, FakePeer, HIDDEN, onesWork } from './testing/fake-peer.ts';

let peers: FakePeer[];
let dispatcher: Dispatcher;

beforeEach(() => {
  peers = [];
  dispatcher = new Dispatcher({
    numExpertsPerTok: 2,
    hiddenSize: HIDDEN,
    nRoutedExperts: EXPERTS,
    local: onesWork(),
    peers: () => peers,
  });
});

async function lap(moe: MoeCall): Promise<Float32Array> {
  return dispatcher.batch().dispatch(moe).combine();
}

describe('LapSplitter with replicas of about the same speed', () => {
  it.each([2, 3, 5, 6])('takes turns in each layer among %i replicas, whatever the number of layers', async (count) => {
    peers = Array.from({ length: count }, (_, i) => new FakePeer(`p${i}`, every));
    for (let pass = 0; pass < 2 * count; pass++) {
      for (let layer = 1; layer <= 6; layer++) await lap(call([[0, 1]], { layer }));
    }
    for (const peer of peers) {
      for (let layer = 1; layer <= 6; layer++) {
        expect(peer.asked.filter((item) => item.layer === layer)).toHaveLength(2);
      }
    }
  });

  it('takes turns though another layer’s peers are faster', async () => {
    const fast = new FakePeer('fast', (layer) => layer === 2);
    const slow = ['a', 'b'].map((id) => new FakePeer(id, (layer) => layer === 1));
    for (const peer of slow) peer.expectedLapMs = 50;
    peers = [fast, ...slow];
    for (let i = 0; i < 4; i++) await lap(call([[0, 1]]));
    expect(slow.map(({ asked }) => asked.length)).toEqual([2, 2]);
  });

  it('shares the rows of a large batch, with the same sum', async () => {
    const topk = Array.from({ length: 32 }, (_, row) => [row % EXPERTS, (row + 1) % EXPERTS]);
    peers = [new FakePeer('only', every)];
    const alone = await lap(call(topk));
    peers = ['a', 'b'].map((id) => new FakePeer(id, every));
    for (const peer of peers) peer.perAssignmentMs = 1;
    expect(await lap(call(topk))).toEqual(alone);
    expect(peers.map(({ asked }) => asked.map(({ numRows }) => numRows))).toEqual([[16], [16]]);
  });

  it('leaves out a much slower replica, and tries a new one', async () => {
    peers = ['fast', 'slow'].map((id) => new FakePeer(id, every));
    peers[1]!.expectedLapMs = 40;
    for (let i = 0; i < 4; i++) await lap(call([[0, 1]]));
    expect(peers.map(({ asked }) => asked.length)).toEqual([4, 0]);
    peers[1]!.expectedLapMs = 0;
    await lap(call([[0, 1]]));
    expect(peers[1]!.asked).toHaveLength(1);
  });
});

describe('LapSplitter with peers that may be given few rows', () => {
  const rows = (count: number): MoeCall => call(Array.from({ length: count }, () => [0, 1]));
  const rowsOf = (peer: FakePeer): number => peer.asked.reduce((sum, item) => sum + item.numRows, 0);

  it('gives the rest to another that serves the same experts, and what nobody may have to the coordinator', async () => {
    const [young, old] = [new FakePeer('young', every), new FakePeer('old', every)];
    Object.assign(young, { rowsAhead: 3 });
    Object.assign(old, { rowsAhead: 5, expectedLapMs: 1_000 });
    peers = [young, old];
    const sum = await lap(rows(10));
    expect([...sum]).toEqual(Array.from({ length: 10 * HIDDEN }, (_, i) => 3 + 4 * Math.floor(i / HIDDEN)));
    expect([rowsOf(young), rowsOf(old)]).toEqual([3, 5]);
    expect(dispatcher.figures).toMatchObject({ tabAssignments: 16, fallbackAssignments: 4 });
  });

  it('keeps the experts of a row together', async () => {
    const [young, half] = [new FakePeer('young', every), new FakePeer('half', (_, expert) => expert === 0)];
    young.rowsAhead = 1;
    peers = [young, half];
    await lap(rows(2));
    expect(rowsOf(half)).toBe(0);
    expect(dispatcher.figures.fallbackAssignments).toBe(2);
  });
});

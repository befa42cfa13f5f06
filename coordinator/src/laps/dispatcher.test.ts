import {
  decodeF16,
  encodeF16,
  type MoeCall,
  type SwigluWeights,
  type WorkItem,
  uniformWorkItem,
  sliceRows,
} from '@shoal/model';
import { FrameError, MAX_ROWS_PER_LAP } from '@shoal/protocol';
import { beforeEach, describe, expect, it } from 'vitest';
import type { LapTrace } from '../scheduler/generation.ts';
import { Dispatcher, type RedispatchEvent } from './dispatcher.ts';
import type { LapPeer } from './lap-splitter.ts';
import { SampleWindow } from '../base/sample-window.ts';
import { type LapAnswer, LapError } from './lap.ts';
import type { AskOptions, LapClient } from './lap-client.ts';
import { ReferenceWork } from './testing/reference-work.ts';

const HIDDEN = 4;
const EXPERTS = 8;
const TOP_K = 2;

/** Each expert gives 1 everywhere, so that a sum tells whose weights are in it. */
const ones: SwigluWeights = {
  gate: new Float32Array(HIDDEN).fill(0.25),
  up: new Float32Array(HIDDEN).fill(0.25),
  down: new Float32Array(HIDDEN).fill(1 / 0.7310585786300049),
};

class FakePeer implements LapPeer {
  readonly peerId: string;
  readonly asked: WorkItem[] = [];
  helpedTokens = 0;
  expectedLapMs = 1;
  perAssignmentMs = 0;
  failure: Error | undefined;
  delay: Promise<void> = Promise.resolve();
  readonly #serves: (layer: number, expert: number) => boolean;

  constructor(peerId: string, serves: (layer: number, expert: number) => boolean) {
    this.peerId = peerId;
    this.#serves = serves;
  }

  serves(layer: number, expert: number): boolean {
    return this.#serves(layer, expert);
  }

  believed = true;
  accepting = true;
  readonly accepts = (): boolean => this.accepting;

  helped(tokens: number): void {
    this.helpedTokens += tokens;
  }

  get laps(): LapClient {
    const ask = (request: WorkItem, options?: AskOptions): Promise<LapAnswer> => this.#ask(request, options);
    const lapMs = new SampleWindow(1);
    if (this.expectedLapMs > 0) lapMs.add(this.expectedLapMs);
    const attempt = (request: WorkItem, options?: AskOptions) => ({
      result: ask(request, options),
      cancel: () => {},
    });
    const hedgeAfterMs = (): number => Number.POSITIVE_INFINITY;
    const standing = this.expectedLapMs === 0 ? 'try' : 'known';
    const expected = { standing, fixedMs: this.expectedLapMs, perAssignmentMs: this.perAssignmentMs };
    return { ask, attempt, hedgeAfterMs, expected, lapMs } as unknown as LapClient;
  }

  async #ask(request: WorkItem, options: AskOptions = {}): Promise<LapAnswer> {
    this.asked.push(request);
    if (options.meter) options.meter.frameBytes += 100;
    await this.delay;
    if (this.failure) throw this.failure;
    return {
      partial: encodeF16(await local.compute(request)),
      timing: { lapMs: 9, queueMs: 2, computeMs: 3 },
    };
  }
}

let local: ReferenceWork;
let peers: FakePeer[];
let redispatches: RedispatchEvent[];
let dispatcher: Dispatcher;

beforeEach(() => {
  local = new ReferenceWork({ hiddenSize: HIDDEN, maxBytes: 2 ** 20, read: async () => ones });
  peers = [];
  redispatches = [];
  dispatcher = new Dispatcher({
    numExpertsPerTok: 2,
    hiddenSize: HIDDEN,
    nRoutedExperts: EXPERTS,
    local,
    peers: () => peers,
    onRedispatch: (event) => redispatches.push(event),
  });
});

const every = (): boolean => true;
const only =
  (...experts: number[]) =>
  (_: number, expert: number): boolean =>
    experts.includes(expert);

function call(topk: number[][], more: { layer?: number; weights?: number[]; x?: Float32Array } = {}): MoeCall {
  const numRows = topk.length;
  return {
    layer: more.layer ?? 1,
    numRows,
    x: more.x ?? new Float32Array(numRows * HIDDEN).fill(1),
    topkIdx: Uint16Array.from(topk.flat()),
    topkWeights: Float32Array.from(more.weights ?? topk.flat().map((_, i) => i + 1)),
  };
}

async function lap(moe: MoeCall): Promise<Float32Array> {
  return dispatcher.batch().dispatch(moe).combine();
}

/** [rows] the sum of each row, which is that of its weights. */
function perRow(sum: Float32Array): number[] {
  return Array.from({ length: sum.length / HIDDEN }, (_, row) => Math.round(sum[row * HIDDEN]! * 100) / 100);
}

describe('a lap', () => {
  it('asks few peers, each with one frame of its rows and their experts', async () => {
    peers = [
      new FakePeer('low', only(0, 1, 2, 3)),
      new FakePeer('high', only(4, 5, 6, 7)),
      new FakePeer('one', only(2)),
    ];
    const sum = await lap(
      call([
        [0, 5],
        [2, 1],
        [7, 4],
      ]),
    );
    expect(perRow(sum)).toEqual([3, 7, 11]);
    expect(peers.map(({ asked }) => asked.length)).toEqual([1, 1, 0]);
    expect(peers[0]!.asked[0]).toMatchObject({ layer: 1, numRows: 2, rowEnd: Uint16Array.of(1, 3) });
    expect([...peers[0]!.asked[0]!.experts]).toEqual([0, 2, 1]);
    expect([...peers[1]!.asked[0]!.experts]).toEqual([5, 7, 4]);
    expect(dispatcher.figures).toMatchObject({
      laps: 1,
      tabAssignments: 6,
      fallbackAssignments: 0,
      tabRows: 3,
      tabRowParts: 4,
    });
    expect(dispatcher.figures.frameBytes).toBe(200);
    expect([...dispatcher.figures.expertRows.get(1)!]).toEqual([1, 1, 1, 0, 1, 1, 0, 1]);
  });

  it('uses no answer that its peer is not believed to have right', async () => {
    const [liar, replica] = [new FakePeer('liar', every), new FakePeer('replica', only(3))];
    liar.accepting = false;
    peers = [liar, replica];
    expect(perRow(await lap(call([[3, 3]])))).toEqual([3]);
    while (liar.asked.length === 0) await lap(call([[3, 3]]));
    expect(redispatches.every(({ error, peerId }) => error.reason === 'wrong' && peerId === 'liar')).toBe(true);
    expect(redispatches.length).toBe(liar.asked.length);
    expect(dispatcher.figures.fallbackAssignments).toBe(0);
  });

  it('has the part of a peer that is found out before the sum done again', async () => {
    const liar = new FakePeer('liar', every);
    peers = [liar];
    const handle = dispatcher.batch().dispatch(call([[3, 4]]));
    await new Promise((resolve) => setTimeout(resolve, 20));
    expect(dispatcher.figures.tabAssignments).toBe(2);
    liar.believed = false;
    expect(perRow(await handle.combine())).toEqual([3]);
    expect(dispatcher.figures).toMatchObject({ tabAssignments: 0, fallbackAssignments: 2, tabRows: 0 });
  });

  it('adds up in an order that does not depend on who answers first', async () => {
    let release = (): void => {};
    const [a, b] = [new FakePeer('a', only(0)), new FakePeer('b', only(1))];
    peers = [a, b];
    const moe = call([[0, 1]], { weights: [0.1, 1e-4] });
    a.delay = new Promise((resolve) => (release = resolve));
    const slowFirst = lap(moe);
    await new Promise(setImmediate);
    release();
    const one = await slowFirst;
    a.delay = Promise.resolve();
    b.delay = new Promise((resolve) => setTimeout(resolve, 5));
    expect(await lap(moe)).toEqual(one);
  });

  it('of no tab is done by the coordinator', async () => {
    expect(perRow(await lap(call([[0, 1]])))).toEqual([3]);
    expect(dispatcher.figures).toMatchObject({
      laps: 1,
      tabAssignments: 0,
      fallbackAssignments: 2,
      tabRows: 0,
      frameBytes: 0,
    });
    expect(dispatcher.figures.lapMs.length).toBe(0);
  });

  it('goes to a replica when its peer fails, and what no replica holds to the coordinator', async () => {
    const failing = new FakePeer('failing', every);
    failing.failure = new LapError('deadline', 'no answer');
    failing.expectedLapMs = 0;
    peers = [failing, new FakePeer('replica', only(0))];
    expect(perRow(await lap(call([[0, 1]])))).toEqual([3]);
    expect(dispatcher.figures).toMatchObject({ redispatches: 1, tabAssignments: 1, fallbackAssignments: 1, laps: 1 });
    expect(redispatches).toMatchObject([{ peerId: 'failing', layer: 1, rows: 1, to: [null, 'replica'] }]);
  });

  it('asks nobody twice, and ends with the coordinator when all fail', async () => {
    peers = ['a', 'b', 'c'].map((id) => new FakePeer(id, every));
    for (const peer of peers) peer.failure = new LapError('closed', 'gone');
    expect(perRow(await lap(call([[0, 1]])))).toEqual([3]);
    expect(peers.map(({ asked }) => asked.length)).toEqual([1, 1, 1]);
    expect(dispatcher.figures).toMatchObject({ redispatches: 3, tabAssignments: 0, fallbackAssignments: 2 });
  });

  it('with more rows than a frame holds goes in several', async () => {
    peers = [new FakePeer('all', every)];
    const numRows = MAX_ROWS_PER_LAP + 10;
    const topk = Array.from({ length: numRows }, (_, row) => [row % EXPERTS, (row + 1) % EXPERTS]);
    const sum = await lap(call(topk, { weights: topk.flat().map(() => 0.5) }));
    expect(peers[0]!.asked.map((request) => request.numRows)).toEqual([MAX_ROWS_PER_LAP, 10]);
    expect(peers[0]!.asked.map((request) => request.rowEnd.at(-1))).toEqual([TOP_K * MAX_ROWS_PER_LAP, TOP_K * 10]);
    expect(perRow(sum).every((value) => value === 1)).toBe(true);
    expect(dispatcher.figures).toMatchObject({ laps: 1, tabRows: numRows, tabRowParts: numRows });
  });

  it('with a row that f16 cannot hold spoils no other row of the batch', async () => {
    const peer = new FakePeer('all', every);
    peers = [peer];
    peer.failure = new FrameError('not-finite', 'dispatch.rows[0] is NaN or ∞.');
    const x = new Float32Array(2 * HIDDEN).fill(1).fill(Number.NaN, 0, HIDDEN);
    const sum = await lap(
      call(
        [
          [0, 1],
          [0, 1],
        ],
        { x },
      ),
    );
    expect(perRow(sum)).toEqual([Number.NaN, 7]);
  });

  it('that the coordinator itself cannot do rejects, and is not an unhandled rejection before', async () => {
    local.compute = () => Promise.reject(new Error('shard missing'));
    const handle = dispatcher.batch().dispatch(call([[0, 1]]));
    await new Promise(setImmediate);
    await expect(handle.combine()).rejects.toThrow('shard missing');
  });

  it('tells who served each row, and credits each token to a peer once a pass', async () => {
    peers = [new FakePeer('low', only(0, 1, 2, 3))];
    const traces: [number, LapTrace][] = [];
    const batch = dispatcher.batch({ trace: (row, trace) => void traces.push([row, trace]) });
    for (const layer of [1, 2]) {
      const moe = call(
        [
          [0, 5],
          [1, 2],
        ],
        { layer },
      );
      await batch.dispatch(moe).combine();
    }
    expect(peers[0]!.helpedTokens).toBe(2);
    expect(traces.map(([row, { layer }]) => [row, layer])).toEqual([
      [0, 1],
      [1, 1],
      [0, 2],
      [1, 2],
    ]);
    expect(traces[0]![1].experts).toEqual([
      { expert: 0, weight: 1, peerId: 'low' },
      { expert: 5, weight: 2, peerId: null },
    ]);
  });
});

describe('a layer that the coordinator holds', () => {
  const begun: number[] = [];
  beforeEach(() => {
    begun.length = 0;
    dispatcher = new Dispatcher({
      numExpertsPerTok: 2,
      hiddenSize: HIDDEN,
      nRoutedExperts: EXPERTS,
      local: { compute: () => Promise.reject(new Error('not for want of a tab')) },
      localLayers: { layers: new Set([1, 3]), work: local },
      mtpLayer: 3,
      peers: () => peers,
      onDispatch: ({ layer }) => begun.push(layer),
    });
    // It says that it has every expert of every layer, as one does whose experts were not yet taken from it.
    peers = [new FakePeer('all', every)];
  });

  it('makes no lap and asks no tab; its work and the drafter’s are counted apart', async () => {
    for (const layer of [1, 2, 3, 3]) expect(perRow(await lap(call([[0, 5]], { layer })))).toEqual([3]);
    expect(peers[0]!.asked.map(({ layer }) => layer)).toEqual([2]);
    expect(begun).toEqual([2]);
    expect(dispatcher.figures).toMatchObject({ laps: 1, tabAssignments: 2, fallbackAssignments: 0, tabRows: 1 });
    expect(dispatcher.figures).toMatchObject({ localLayerAssignments: 2, draftAssignments: 4 });
    expect(dispatcher.figures.localLayerMs.length).toBe(1);
    expect(dispatcher.figures.lapMs.length).toBe(1);
  });

  it('leaves the gate its choice under a device limit, and says so in traces', async () => {
    const limited: number[] = [];
    const traces: LapTrace[] = [];
    const batch = dispatcher.batch({
      maxPeers: () => 1,
      onLimited: (row) => limited.push(row),
      trace: (_, trace) => void traces.push(trace),
    });
    const scores = new Float32Array(EXPERTS);
    const all = Array.from({ length: EXPERTS }, (_, expert) => expert);
    expect(batch.choose!(1, 0, scores, all)).toBeUndefined();
    expect(limited).toEqual([]);
    expect(batch.choose!(2, 0, scores, all)).toHaveLength(2);
    expect(limited).toEqual([0]);
    for (const layer of [1, 2]) await batch.dispatch(call([[0, 1]], { layer })).combine();
    expect(traces.map(({ layer, resident }) => [layer, resident])).toEqual([
      [1, true],
      [2, undefined],
    ]);
  });
});

describe('replicas of about the same speed', () => {
  it.each([2, 3, 5, 6])('take turns in each layer, %i of them, however many layers there are', async (count) => {
    peers = Array.from({ length: count }, (_, i) => new FakePeer(`p${i}`, every));
    for (let pass = 0; pass < 2 * count; pass++) {
      for (let layer = 1; layer <= 6; layer++) await lap(call([[0, 1]], { layer }));
    }
    for (const peer of peers) {
      for (let layer = 1; layer <= 6; layer++) {
        expect(peer.asked.filter((request) => request.layer === layer)).toHaveLength(2);
      }
    }
  });

  it('take turns though another layer’s peers are faster', async () => {
    const fast = new FakePeer('fast', (layer) => layer === 2);
    const slow = ['a', 'b'].map((id) => new FakePeer(id, (layer) => layer === 1));
    for (const peer of slow) peer.expectedLapMs = 50;
    peers = [fast, ...slow];
    for (let i = 0; i < 4; i++) await lap(call([[0, 1]]));
    expect(slow.map(({ asked }) => asked.length)).toEqual([2, 2]);
  });

  it('share the rows of a large batch, and the sum is as it was', async () => {
    const topk = Array.from({ length: 32 }, (_, row) => [row % EXPERTS, (row + 1) % EXPERTS]);
    peers = [new FakePeer('only', every)];
    const alone = await lap(call(topk));
    peers = ['a', 'b'].map((id) => new FakePeer(id, every));
    for (const peer of peers) peer.perAssignmentMs = 1;
    expect(await lap(call(topk))).toEqual(alone);
    expect(peers.map(({ asked }) => asked.map(({ numRows }) => numRows))).toEqual([[16], [16]]);
  });

  it('are left alone by a much slower one, and a newcomer is tried', async () => {
    peers = ['fast', 'slow'].map((id) => new FakePeer(id, every));
    peers[1]!.expectedLapMs = 40;
    for (let i = 0; i < 4; i++) await lap(call([[0, 1]]));
    expect(peers.map(({ asked }) => asked.length)).toEqual([4, 0]);
    peers[1]!.expectedLapMs = 0;
    await lap(call([[0, 1]]));
    expect(peers[1]!.asked).toHaveLength(1);
  });
});

describe('the coordinator’s own work', () => {
  it('gives each row the same, whatever is computed with it', async () => {
    const weightsOf = (seed: number): SwigluWeights => {
      const matrix = (salt: number): Float32Array =>
        Float32Array.from({ length: 3 * HIDDEN }, (_, i) => Math.sin(seed * 5 + salt + i));
      return { gate: matrix(1), up: matrix(2), down: matrix(3) };
    };
    const work = new ReferenceWork({
      hiddenSize: HIDDEN,
      maxBytes: 2 ** 20,
      read: async (layer, expert) => weightsOf(layer * 10 + expert),
    });
    const numRows = 21;
    const rows = encodeF16(Float32Array.from({ length: numRows * HIDDEN }, (_, i) => Math.cos(i)));
    const experts = Uint16Array.from({ length: numRows * TOP_K }, (_, i) => (i * 3) % EXPERTS);
    const weights = Float32Array.from(experts, (_, i) => 1 / (i + 1));
    const item = uniformWorkItem({ layer: 1, rows, numRows, experts, weights });
    const together = await work.compute(item);
    for (let row = 0; row < numRows; row++) {
      const alone = await work.compute(sliceRows(item, row));
      expect(together.slice(row * HIDDEN, (row + 1) * HIDDEN)).toEqual(alone);
    }
    expect(decodeF16(rows)).toHaveLength(numRows * HIDDEN);
  });
});

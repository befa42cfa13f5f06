import { type MoeCall, NO_EXPERT } from '@shoal/model';
import { FrameError, MAX_ASSIGNMENTS_PER_LAP, MAX_ROWS_PER_LAP } from '@shoal/protocol';
import { beforeEach, describe, expect, it } from 'vitest';
import { Dispatcher } from './dispatcher.ts';
import { LapError, type LapTrace, type RedispatchEvent } from './lap.ts';
import { call, every, EXPERTS, FakePeer, HIDDEN, only, onesWork, perRow, TOP_K } from './testing/fake-peer.ts';
import type { ReferenceWork } from './testing/reference-work.ts';

let local: ReferenceWork;
let peers: FakePeer[];
let redispatches: RedispatchEvent[];
let dispatcher: Dispatcher;

beforeEach(() => {
  local = onesWork();
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

async function lap(moe: MoeCall): Promise<Float32Array> {
  return dispatcher.batch().dispatch(moe).combine();
}

describe('Dispatcher', () => {
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

  it('sends no more assignments in a frame than it holds', async () => {
    peers = [new FakePeer('only', every)];
    const width = 48;
    const rows = Array.from({ length: 400 }, () => Array.from({ length: width }, (_, i) => i % EXPERTS));
    const moe = call(rows, { weights: rows.flatMap((row) => row.map(() => 1)) });
    expect(width * 400).toBeGreaterThan(MAX_ASSIGNMENTS_PER_LAP);
    expect(new Set(perRow(await lap(moe)))).toEqual(new Set([width]));
    const most = Math.floor(MAX_ASSIGNMENTS_PER_LAP / width);
    expect(peers[0]!.asked.map(({ numRows }) => numRows)).toEqual([most, 400 - most]);
  });

  it('sends nothing for places without an expert, and gives rows that have none 0', async () => {
    const noted: number[][] = [];
    const traces: LapTrace[] = [];
    dispatcher = new Dispatcher({
      numExpertsPerTok: 2,
      hiddenSize: HIDDEN,
      nRoutedExperts: EXPERTS,
      local,
      peers: () => peers,
      onDispatch: (_, rows) => noted.push([...rows]),
    });
    peers = [new FakePeer('low', only(0, 1)), new FakePeer('high', only(4, 5))];
    const rows = [
      [NO_EXPERT, 5],
      [NO_EXPERT, NO_EXPERT],
      [0, 4],
      [1, NO_EXPERT],
    ];
    const moe = call(rows, { weights: [0, 2, 0, 0, 5, 6, 7, 0] });
    const sum = await dispatcher
      .batch({ trace: (_, trace) => void traces.push(trace) })
      .dispatch(moe)
      .combine();
    expect(perRow(sum)).toEqual([2, 0, 11, 7]);
    expect(peers.map(({ asked }) => asked.map(({ experts, rowEnd }) => [[...experts], [...rowEnd]]))).toEqual([
      [
        [
          [0, 1],
          [1, 2],
        ],
      ],
      [
        [
          [5, 4],
          [1, 2],
        ],
      ],
    ]);
    expect(traces.map(({ experts }) => experts.map(({ expert, peerId }) => [expert, peerId]))).toEqual([
      [[5, 'high']],
      [],
      [
        [0, 'low'],
        [4, 'high'],
      ],
      [[1, 'low']],
    ]);
    expect([...dispatcher.figures.expertRows.get(1)!]).toEqual([1, 1, 0, 0, 1, 1, 0, 0]);
    await lap(call([[NO_EXPERT], [NO_EXPERT]]));
    expect(perRow(await lap(call([[], []])))).toEqual([0, 0]);
    expect(noted).toEqual([[0, 2, 3], [], []]);
    expect(dispatcher.figures).toMatchObject({
      tabAssignments: 4,
      fallbackAssignments: 0,
      tabRows: 3,
      frameBytes: 200,
    });
  });

  it('asks another peer where LapPeer.accepts says no', async () => {
    const [liar, replica] = [new FakePeer('liar', every), new FakePeer('replica', only(3))];
    liar.accepting = false;
    peers = [liar, replica];
    expect(perRow(await lap(call([[3, 3]])))).toEqual([3]);
    while (liar.asked.length === 0) await lap(call([[3, 3]]));
    expect(redispatches.every(({ error, peerId }) => error.reason === 'wrong' && peerId === 'liar')).toBe(true);
    expect(redispatches.length).toBe(liar.asked.length);
    expect(dispatcher.figures.fallbackAssignments).toBe(0);
  });

  it('serves the part of a peer that is found wrong before the sum again', async () => {
    const liar = new FakePeer('liar', every);
    peers = [liar];
    const handle = dispatcher.batch().dispatch(call([[3, 4]]));
    await new Promise((resolve) => setTimeout(resolve, 20));
    expect(liar.asked).toHaveLength(1);
    liar.believed = false;
    expect(perRow(await handle.combine())).toEqual([3]);
    expect(dispatcher.figures).toMatchObject({ tabAssignments: 0, fallbackAssignments: 2, tabRows: 0 });
  });

  it('adds up in an order that does not depend on the order of answers', async () => {
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

  it('computes locally what no peer serves', async () => {
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

  it('re-dispatches a failed part to a replica, and what no replica holds to the coordinator', async () => {
    const failing = new FakePeer('failing', every);
    failing.failure = new LapError('deadline', 'no answer');
    failing.expectedLapMs = 0;
    peers = [failing, new FakePeer('replica', only(0))];
    expect(perRow(await lap(call([[0, 1]])))).toEqual([3]);
    expect(dispatcher.figures).toMatchObject({ redispatches: 1, tabAssignments: 1, fallbackAssignments: 1, laps: 1 });
    expect(redispatches).toMatchObject([{ peerId: 'failing', layer: 1, rows: 1, to: [null, 'replica'] }]);
  });

  it('asks no peer twice, and computes locally when all fail', async () => {
    peers = ['a', 'b', 'c'].map((id) => new FakePeer(id, every));
    for (const peer of peers) peer.failure = new LapError('closed', 'gone');
    expect(perRow(await lap(call([[0, 1]])))).toEqual([3]);
    expect(peers.map(({ asked }) => asked.length)).toEqual([1, 1, 1]);
    expect(dispatcher.figures).toMatchObject({ redispatches: 3, tabAssignments: 0, fallbackAssignments: 2 });
  });

  it('cuts more rows than a frame holds into several frames', async () => {
    peers = [new FakePeer('all', every)];
    const numRows = MAX_ROWS_PER_LAP + 10;
    const topk = Array.from({ length: numRows }, (_, row) => [row % EXPERTS, (row + 1) % EXPERTS]);
    const sum = await lap(call(topk, { weights: topk.flat().map(() => 0.5) }));
    expect(peers[0]!.asked.map((item) => item.numRows)).toEqual([MAX_ROWS_PER_LAP, 10]);
    expect(peers[0]!.asked.map((item) => item.rowEnd.at(-1))).toEqual([TOP_K * MAX_ROWS_PER_LAP, TOP_K * 10]);
    expect(perRow(sum).every((value) => value === 1)).toBe(true);
    expect(dispatcher.figures).toMatchObject({ laps: 1, tabRows: numRows, tabRowParts: numRows });
  });

  it('computes a part locally where f16 cannot hold one of its rows, without harm to the other rows', async () => {
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

  it('rejects combine() when local work fails, without an unhandled rejection before', async () => {
    local.compute = () => Promise.reject(new Error('shard missing'));
    const handle = dispatcher.batch().dispatch(call([[0, 1]]));
    await new Promise(setImmediate);
    await expect(handle.combine()).rejects.toThrow('shard missing');
  });

  it('traces the peer of each expert, and credits each token to a peer once a pass', async () => {
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

describe('Dispatcher with local layers', () => {
  const begun: number[] = [];
  beforeEach(() => {
    begun.length = 0;
    dispatcher = new Dispatcher({
      numExpertsPerTok: 2,
      hiddenSize: HIDDEN,
      nRoutedExperts: EXPERTS,
      local: { compute: () => Promise.reject(new Error('must not be asked')) },
      localLayers: { layers: new Set([1, 3]), work: local },
      mtpLayer: 3,
      peers: () => peers,
      onDispatch: ({ layer }) => begun.push(layer),
    });
    // It still serves every expert of every layer, as before its experts were taken from it.
    peers = [new FakePeer('all', every)];
  });

  it('makes no lap and asks no peer in them, and counts their work and the drafter’s apart', async () => {
    for (const layer of [1, 2, 3, 3]) expect(perRow(await lap(call([[0, 5]], { layer })))).toEqual([3]);
    expect(peers[0]!.asked.map(({ layer }) => layer)).toEqual([2]);
    expect(begun).toEqual([2]);
    expect(dispatcher.figures).toMatchObject({ laps: 1, tabAssignments: 2, fallbackAssignments: 0, tabRows: 1 });
    expect(dispatcher.figures).toMatchObject({ localLayerAssignments: 2, draftAssignments: 4 });
    expect(dispatcher.figures.localLayerMs.length).toBe(1);
    expect(dispatcher.figures.lapMs.length).toBe(1);
  });

  it('leaves the gate’s choice under a device limit, and marks them in traces', async () => {
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

describe('Dispatcher with a peer that may not answer', () => {
  const never = new Promise<void>(() => {});
  const answered = (peer: FakePeer): number => peer.asked.length;

  it('waits for no peer that has never answered: a replica is asked at once', async () => {
    const [untried, replica] = [new FakePeer('untried', every), new FakePeer('replica', every)];
    Object.assign(untried, { trial: 'untried', delay: never, expectedLapMs: 0 });
    peers = [untried, replica];
    expect(perRow(await lap(call([[0, 5]])))).toEqual([3]);
    expect([answered(untried), answered(replica)]).toEqual([1, 1]);
    expect(untried.overtakenBy).toEqual(['peer']);
    expect(dispatcher.figures).toMatchObject({ trials: 1, hedges: 0, tabAssignments: 2, fallbackAssignments: 0 });
  });

  it('asks several replicas if no single one can do all of it', async () => {
    const untried = new FakePeer('untried', every);
    Object.assign(untried, { trial: 'untried', delay: never, expectedLapMs: 0 });
    peers = [untried, new FakePeer('low', only(0, 1)), new FakePeer('high', only(5))];
    expect(perRow(await lap(call([[0, 5]])))).toEqual([3]);
    expect(peers.map(answered)).toEqual([1, 1, 1]);
    expect(dispatcher.figures).toMatchObject({ trials: 1, standIns: 0, fallbackAssignments: 0 });
  });

  it.each(['untried', undefined] as const)('computes here what nobody else could, if it is %s', async (trial) => {
    const silent = new FakePeer('silent', every);
    Object.assign(silent, { trial, delay: never, hedgeAfterMs: 5 });
    peers = [silent];
    expect(perRow(await lap(call([[0, 5]])))).toEqual([3]);
    expect(silent.overtakenBy).toEqual(['coordinator']);
    expect(dispatcher.figures).toMatchObject({ standIns: 1, tabAssignments: 0, fallbackAssignments: 2 });
  });

  it('waits for a doubtful one no longer than for its replica, whatever it usually takes', async () => {
    const [doubtful, replica] = [new FakePeer('doubtful', every), new FakePeer('replica', every)];
    Object.assign(doubtful, { trial: 'doubtful', delay: never, hedgeAfterMs: 1_000_000, expectedLapMs: 0 });
    replica.hedgeAfterMs = 5;
    peers = [doubtful, replica];
    expect(perRow(await lap(call([[0, 5]])))).toEqual([3]);
    expect(answered(replica)).toBe(1);
  });

  it('waits for none longer than for itself, whatever they usually take', async () => {
    const slow = new FakePeer('slow', every);
    Object.assign(slow, { delay: never, hedgeAfterMs: 1_000_000 });
    peers = [slow];
    expect(perRow(await lap(call([[0, 5]])))).toEqual([3]);
  });

  it('uses the answer of one that comes in time, and asks nobody else', async () => {
    const [doubtful, replica] = [new FakePeer('doubtful', every), new FakePeer('replica', every)];
    Object.assign(doubtful, { trial: 'doubtful', hedgeAfterMs: 1_000_000, expectedLapMs: 0 });
    replica.hedgeAfterMs = 1_000_000;
    peers = [doubtful, replica];
    expect(perRow(await lap(call([[0, 5]])))).toEqual([3]);
    expect([answered(doubtful), answered(replica)]).toEqual([1, 0]);
    expect(dispatcher.figures.trials).toBe(0);
  });

  it('counts no answer that came too late as used, and does nothing again because of it', async () => {
    const [untried, replica] = [new FakePeer('untried', every), new FakePeer('replica', every)];
    let answer = (): void => {};
    const accepted: string[] = [];
    Object.assign(untried, { trial: 'untried', expectedLapMs: 0, delay: new Promise<void>((done) => (answer = done)) });
    for (const peer of [untried, replica]) Object.assign(peer, { accepts: () => accepted.push(peer.peerId) > 0 });
    peers = [untried, replica];
    await lap(call([[0, 5]]));
    answer();
    await new Promise((resolve) => setTimeout(resolve, 5));
    expect(accepted).toEqual(['replica']);
    expect([answered(untried), answered(replica), redispatches.length]).toEqual([1, 1, 0]);
  });
});

import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { Dispatcher } from './dispatcher.ts';
import { call, every, EXPERTS, FakePeer, HIDDEN, onesWork, perRow, TOP_K } from './testing/fake-peer.ts';

const network = (...peers: FakePeer[]) =>
  new Dispatcher({
    hiddenSize: HIDDEN,
    nRoutedExperts: EXPERTS,
    numExpertsPerTok: TOP_K,
    local: onesWork(),
    peers: () => peers,
  });

it('a row that is not finite, or has such a weight, is sent to no tab and gets NaN; the others are answered', async () => {
  const peer = new FakePeer('a', every);
  const dispatcher = network(peer);
  const x = new Float32Array(4 * HIDDEN).fill(1);
  x[HIDDEN + 2] = Number.POSITIVE_INFINITY;
  const rows = [
    [0, 1],
    [2, 3],
    [4, 5],
    [6, 7],
  ];
  const asked = call(rows, { x, weights: [1, 2, 3, 4, 5, Number.NaN, 7, 8] });
  const sums = await dispatcher.batch().dispatch(asked).combine();
  expect(perRow(sums)).toEqual([3, Number.NaN, Number.NaN, 15]);
  expect(peer.asked.map(({ experts }) => [...experts])).toEqual([[0, 1, 6, 7]]);
  expect(dispatcher.figures).toMatchObject({ fallbackAssignments: 0, redispatches: 0 });
});

describe('a row for which a peer finds no finite sum', () => {
  // A busy machine would make a lap late, and then hedge it.
  beforeEach(() => void vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'performance'] }));
  afterEach(() => void vi.useRealTimers());

  const ROWS = [
    [0, 1],
    [2, 3],
  ];
  const withholding = (peerId: string): FakePeer => Object.assign(new FakePeer(peerId, every), { withholds: true });
  /** Asked only where the first peer is not. */
  const replica = (): FakePeer => Object.assign(new FakePeer('replica', every), { expectedLapMs: 1_000 });

  it.each([1, 3e38])(
    'is computed here where no other tab can, and held against it only if it has one (%f)',
    async (weight) => {
      const peer = withholding('a');
      const dispatcher = network(peer);
      const sums = await dispatcher
        .batch()
        .dispatch(call(ROWS, { weights: [weight, weight, 3, 4] }))
        .combine();
      expect(perRow(sums)[1]).toBe(7);
      expect(Number.isFinite(sums[0])).toBe(weight === 1);
      expect(peer.checked).toEqual([weight === 1]);
      expect(dispatcher.figures).toMatchObject({ redispatches: 0, fallbackAssignments: 2, tabAssignments: 2 });
    },
  );

  it('is asked of one replica before, and nothing else is', async () => {
    const [liar, other] = [withholding('liar'), replica()];
    liar.hedgeAfterMs = 1;
    other.delay = new Promise((resolve) => setTimeout(resolve, 20));
    const dispatcher = network(liar, other);
    const sums = dispatcher.batch().dispatch(call(ROWS)).combine();
    await vi.advanceTimersByTimeAsync(20);
    expect(perRow(await sums)).toEqual([3, 7]);
    expect(liar.checked).toEqual([true]);
    expect(other.asked.map(({ experts }) => [...experts])).toEqual([[0, 1]]);
    expect(dispatcher.figures).toMatchObject({ fallbackAssignments: 0, tabAssignments: 4, hedges: 0, standIns: 0 });
  });

  it('is computed here where two find none', async () => {
    const liars = [withholding('a'), withholding('b'), withholding('c')];
    const dispatcher = network(...liars);
    expect(perRow(await dispatcher.batch().dispatch(call(ROWS)).combine())).toEqual([3, 7]);
    expect(liars.flatMap(({ checked }) => checked)).toEqual([true, true]);
    expect(dispatcher.figures).toMatchObject({ fallbackAssignments: 2, tabAssignments: 2 });
  });
});

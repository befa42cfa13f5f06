import { expect, it } from 'vitest';
import { Dispatcher } from './dispatcher.ts';
import { call, every, EXPERTS, FakePeer, HIDDEN, onesWork, perRow, TOP_K } from './testing/fake-peer.ts';

const network = (peer: FakePeer) =>
  new Dispatcher({
    hiddenSize: HIDDEN,
    nRoutedExperts: EXPERTS,
    numExpertsPerTok: TOP_K,
    local: onesWork(),
    peers: () => [peer],
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

it('a row for which a peer finds no finite sum is computed here, and held against it only if it has one', async () => {
  for (const weight of [1, 3e38]) {
    const peer = new FakePeer('a', every);
    let withheld = 0;
    const { laps } = peer;
    const attempt = (...[item]: Parameters<typeof laps.attempt>) => ({
      result: laps.ask(item).then((answer) => ({ ...answer, partial: answer.partial.fill(Number.NaN, 0, HIDDEN) })),
      overtaken: () => {},
    });
    const lying = Object.assign(Object.create(peer) as FakePeer, { serves: every, accepts: peer.accepts });
    Object.defineProperty(lying, 'laps', { value: { ...laps, attempt, withheld: () => withheld++ } });
    const dispatcher = network(lying);
    const sums = await dispatcher
      .batch()
      .dispatch(
        call(
          [
            [0, 1],
            [2, 3],
          ],
          { weights: [weight, weight, 3, 4] },
        ),
      )
      .combine();
    expect(perRow(sums)[1]).toBe(7);
    expect(Number.isFinite(sums[0])).toBe(weight === 1);
    expect(withheld).toBe(weight === 1 ? 1 : 0);
    expect(dispatcher.figures).toMatchObject({ redispatches: 0, fallbackAssignments: 2, tabAssignments: 2 });
  }
});

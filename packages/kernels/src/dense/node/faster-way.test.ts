import { expect, it } from 'vitest';
import { FasterWay } from './faster-way.ts';

/** How many of `uses` times it was done together, where both ways take these times. */
function timesTogether(way: FasterWay, uses: number, ms: (together: boolean, use: number) => number): number {
  let count = 0;
  for (let use = 0; use < uses; use++) {
    const together = way.choose();
    if (together) count++;
    way.add(together, ms(together, use));
  }
  return count;
}

it('the faster way is taken but for trials, whichever it is', () => {
  expect(timesTogether(new FasterWay(), 640, (together) => (together ? 0.1 : 0.2))).toBeGreaterThan(600);
  expect(timesTogether(new FasterWay(), 640, (together) => (together ? 0.2 : 0.1))).toBeLessThan(40);
});

it('some times that were held up change nothing', () => {
  const heldUp = (together: boolean, use: number): number => (together ? 0.1 : 0.2) * (use % 5 === 0 ? 50 : 1);
  expect(timesTogether(new FasterWay(), 640, heldUp)).toBeGreaterThan(600);
});

it('follows a load that makes threads wait for each other', () => {
  const way = new FasterWay();
  timesTogether(way, 200, (together) => (together ? 0.1 : 0.2));
  timesTogether(way, 10, (together) => (together ? 0.24 : 0.2));
  expect(timesTogether(way, 96, (together) => (together ? 0.24 : 0.2))).toBeLessThan(5);
});

it('what takes long is done together, without trials', () => {
  expect(timesTogether(new FasterWay(), 640, (together) => (together ? 1 : 0.1))).toBe(640);
});

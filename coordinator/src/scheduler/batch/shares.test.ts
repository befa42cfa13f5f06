import { expect, it } from 'vitest';
import { Shares } from './shares.ts';

it('Shares divide time among the passes in flight, and tell of how many rows they were', () => {
  let nowMs = 0;
  const shares = new Shares(() => nowMs);
  nowMs = 5;
  const first = shares.begin(4);
  nowMs = 15;
  expect([first.ms, first.meanRows]).toEqual([10, 4]);
  const second = shares.begin(8);
  nowMs = 35;
  // Ten alone, and half of twenty; the rows of a pass in flight were 4 and then 6.
  expect([first.ms, second.ms]).toEqual([20, 10]);
  expect([first.meanRows, second.meanRows]).toEqual([(10 * 4 + 20 * 6) / 30, 6]);
  shares.end(first);
  nowMs = 40;
  expect([first.ms, second.ms]).toEqual([20, 15]);
  shares.end(second);
  nowMs = 50;
  expect(shares.begin(1).ms).toBe(0);
});

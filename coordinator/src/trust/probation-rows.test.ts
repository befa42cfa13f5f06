import { createRng, encodeF16 } from '@shoal/model';
import { expect, it } from 'vitest';
import { ProbationRows } from './probation-rows.ts';
import { drawFrom, HIDDEN } from './testing/fixtures.ts';

it('ProbationRows.next takes a recent row, reduced to what the peer holds, or else makes a random one', () => {
  let nowMs = 0;
  const gain = new Float32Array(HIDDEN).fill(3);
  const rows = new ProbationRows({ normGain: () => gain, numExpertsPerTok: 2, draw: drawFrom(1), now: () => nowMs });
  const rng = createRng(2);
  const made = rows.next(1, new Set([4, 5, 6]), rng);
  expect(new Set(Array.from(made.experts)).size).toBe(2);
  expect(Array.from(made.weights).reduce((a, b) => a + b, 0)).toBeCloseTo(1);
  const seen = encodeF16(new Float32Array(HIDDEN).fill(0.25));
  const dispatched = { layer: 1, numRows: 1, rows: seen, rowEnd: [2], experts: [5, 9], weights: [0.6, 0.4] };
  rows.note(dispatched, []);
  rows.note(dispatched, [0]);
  expect(rows.next(1, new Set([4, 5, 6]), rng)).toEqual({ row: seen, experts: [5], weights: [Math.fround(0.6)] });
  // No recent row went to this expert.
  expect(rows.next(1, new Set([4]), rng).row).not.toEqual(seen);
  nowMs = 61_000;
  expect(rows.next(1, new Set([5]), rng).row).not.toEqual(seen);
});

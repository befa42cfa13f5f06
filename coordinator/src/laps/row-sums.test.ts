import { createRng, f16ToF32 } from '@shoal/model';
import { expect, test } from 'vitest';
import { type RowParts, sumParts } from './row-sums.ts';

const HIDDEN = 5;

/** Random f16 values of every magnitude, × 2^exponent. */
function values(count: number, seed: number, exponent = 0): Float32Array {
  const rng = createRng(seed);
  const half = (): number => Math.floor(rng() * 0x7c00) | (rng() < 0.5 ? 0x8000 : 0);
  return Float32Array.from({ length: count }, () => f16ToF32(half()) * 2 ** exponent);
}

test('sumParts adds a row’s parts exactly, in any order', () => {
  const parts: RowParts[] = [
    { rows: [0, 1, 3], partial: values(3 * HIDDEN, 1) },
    { rows: [1, 3], partial: values(2 * HIDDEN, 2) },
    { rows: [3], partial: values(HIDDEN, 3, 10) },
  ];
  const sums = sumParts(parts, 4, HIDDEN);
  const value = (part: number, row: number, d: number): number => {
    const { rows, partial } = parts[part]!;
    return rows.includes(row) ? partial[rows.indexOf(row) * HIDDEN + d]! : 0;
  };
  for (let row = 0; row < 4; row++) {
    for (let d = 0; d < HIDDEN; d++) {
      expect(sums[row * HIDDEN + d]).toBe(Math.fround(value(0, row, d) + value(1, row, d) + value(2, row, d)));
    }
  }
  expect(sumParts(parts.toReversed(), 4, HIDDEN)).toEqual(sums);
});

test('sumParts gives zeros for a row without parts, and never a negative zero', () => {
  const sums = sumParts([{ rows: [1], partial: new Float32Array(HIDDEN).fill(-0) }], 2, HIDDEN);
  expect([...sums].every((sum) => Object.is(sum, 0))).toBe(true);
});

import { createRng, encodeF16, f16ToF32 } from '@shoal/model';
import { expect, test } from 'vitest';
import { asSent, type RowParts, sumParts } from './row-sums.ts';

const HIDDEN = 5;

/** Random f16 values of every magnitude. */
function bits(count: number, seed: number): Uint16Array {
  const rng = createRng(seed);
  return Uint16Array.from({ length: count }, () => (Math.floor(rng() * 0x7c00) | (rng() < 0.5 ? 0x8000 : 0)) & 0xffff);
}

test('sumParts adds a row’s parts exactly, in any order', () => {
  const parts: RowParts[] = [
    { rows: [0, 1, 3], partial: bits(3 * HIDDEN, 1) },
    { rows: [1, 3], partial: bits(2 * HIDDEN, 2) },
    { rows: [3], partial: Float32Array.from(bits(HIDDEN, 3), f16ToF32) },
  ];
  const sums = sumParts(parts, 4, HIDDEN);
  const value = (part: number, row: number, d: number): number => {
    const { rows, partial } = parts[part]!;
    const at = rows.indexOf(row) * HIDDEN + d;
    if (!rows.includes(row)) return 0;
    return partial instanceof Float32Array ? partial[at]! : f16ToF32(partial[at]!);
  };
  for (let row = 0; row < 4; row++) {
    for (let d = 0; d < HIDDEN; d++) {
      expect(sums[row * HIDDEN + d]).toBe(Math.fround(value(0, row, d) + value(1, row, d) + value(2, row, d)));
    }
  }
  expect(sumParts(parts.toReversed(), 4, HIDDEN)).toEqual(sums);
});

test('sumParts gives zeros for a row without parts, and never a negative zero', () => {
  const sums = sumParts([{ rows: [1], partial: new Uint16Array(HIDDEN).fill(0x8000) }], 2, HIDDEN);
  expect([...sums].every((sum) => Object.is(sum, 0))).toBe(true);
});

test('asSent rounds local sums as a peer’s, unless f16 cannot hold them', () => {
  const sums = Float32Array.of(1 / 3, -2e-8, 65_504);
  expect(asSent(sums, 'f16', sums.length)).toEqual(encodeF16(sums));
  const large = Float32Array.of(1, 70_000);
  expect(asSent(large, 'f16', large.length)).toBe(large);
  expect([...sumParts([{ rows: [0], partial: large }], 1, 2)]).toEqual([1, 70_000]);
});

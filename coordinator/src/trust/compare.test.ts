import { createRng, normalDraw } from '@shoal/model';
import { roundedRows } from '@shoal/protocol';
import { describe, expect, it } from 'vitest';
import { compareRow } from './compare.ts';
import { BOUNDS, HIDDEN, randoms, scaled } from './testing/fixtures.ts';

describe('compareRow', () => {
  const expected = randoms(HIDDEN, createRng(1));

  it('matches a row rounded to f16, and measures how far off any other row is', () => {
    const honest = compareRow(scaled(expected, 1 + 2 ** -12), expected, BOUNDS);
    expect(honest.verdict).toBe('match');
    const liar = compareRow(scaled(expected, 1.01), expected, BOUNDS);
    expect(liar.verdict).toBe('mismatch');
    expect(liar.relativeL2).toBeCloseTo(0.01, 5);
    expect(liar.normDeviation).toBeCloseTo(0.01, 5);
  });

  it('finds a deviating norm that the bound on the distance would allow', () => {
    const wide = { ...BOUNDS, maxRelativeL2: 0.1 };
    expect(compareRow(scaled(expected, 1.01), expected, wide).verdict).toBe('mismatch');
  });

  it.each([Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY])('never matches %s', (value) => {
    const answer = expected.slice();
    answer[3] = value;
    expect(compareRow(answer, expected, BOUNDS).verdict).toBe('mismatch');
  });

  it('allows small rows the spacing of subnormal f16 values, and no more', () => {
    const tiny = scaled(expected, 1e-6);
    expect(
      compareRow(
        tiny.map((value) => value + 2 ** -25),
        tiny,
        BOUNDS,
      ).verdict,
    ).toBe('match');
    expect(
      compareRow(
        tiny.map((value) => value + 2 ** -20),
        tiny,
        BOUNDS,
      ).verdict,
    ).toBe('mismatch');
    expect(compareRow(new Float32Array(HIDDEN), new Float32Array(HIDDEN), BOUNDS).verdict).toBe('match');
  });

  it('compares rows beyond f16 as it does others', () => {
    for (const size of [1e5, 131_072, 1e9, 1e30]) {
      const large = scaled(expected, size);
      expect(compareRow(roundedRows('f16', large, HIDDEN), large, BOUNDS).verdict).toBe('match');
      expect(compareRow(scaled(large, 1.01), large, BOUNDS).verdict).toBe('mismatch');
    }
  });

  it('is incomparable where no frame can carry the correct values', () => {
    for (const value of [3.403e38, Number.NaN, Number.POSITIVE_INFINITY]) {
      const huge = expected.slice().fill(value, 2, 3);
      expect(compareRow(expected, huge, BOUNDS).verdict).toBe('incomparable');
    }
  });
});

describe('compareRow of int8 rows', () => {
  const INT8 = { maxRelativeL2: 1.1e-3, maxNormDeviation: 6e-4, rowFormat: 'int8' } as const;
  const WIDTH = 192;
  const rng = createRng(7);
  const sent = (row: Float32Array) => roundedRows('int8', row, WIDTH);
  const normal = (scale: number) => Float32Array.from({ length: WIDTH }, () => scale * normalDraw(rng));
  const plus = (row: Float32Array, other: Float32Array) => row.map((value, i) => value + other[i]!);

  it('matches honest rows of every size, also with small differences from f32 arithmetic or 16-bit inputs', () => {
    for (let i = 0; i < 2000; i++) {
      const size = 10 ** (5 * rng() - 3);
      const expected = normal(size);
      expect(compareRow(sent(expected), expected, INT8).verdict).toBe('match');
      // A few times the difference that was measured for inputs rounded to 16 bits.
      const computed = plus(expected, normal(4e-4 * size));
      expect(compareRow(sent(computed), expected, INT8).verdict).toBe('match');
    }
  });

  it('matches honest rows with outliers and beyond f16, wherever the two sides choose outliers or exponents differently', () => {
    for (let i = 0; i < 2000; i++) {
      const size = 10 ** (6 * rng() - 3);
      const expected = normal(size);
      // About the factor from which a value is an outlier, and far beyond.
      for (let n = 0; n < 3; n++)
        expected[Math.floor(rng() * WIDTH)]! *= rng() < 0.5 ? 5 + 10 * rng() : 10 ** (4 * rng());
      const computed = expected.map((value) => value * (1 + 5e-5 * normalDraw(rng)));
      expect(compareRow(sent(computed), expected, INT8).verdict).toBe('match');
    }
  });

  it('finds an error as large as the rounding, in every row', () => {
    for (let i = 0; i < 500; i++) {
      const expected = normal(1);
      // 9e-3: int8 weights in place of more precise ones; 1.01: the smallest scale factor to be caught.
      expect(compareRow(sent(plus(expected, normal(9e-3))), expected, INT8).verdict).toBe('mismatch');
      expect(compareRow(sent(scaled(expected, 1.01)), expected, INT8).verdict).toBe('mismatch');
    }
  });

  it('does not match a row rounded with a coarser scale than it needs', () => {
    const expected = normal(1);
    // As if each block's largest value were four times as large.
    const coarse = expected.map((value) => Math.round(value * 12) / 12);
    expect(compareRow(coarse, expected, INT8).verdict).toBe('mismatch');
  });

  it.each([Number.NaN, Number.POSITIVE_INFINITY])('never matches %s', (value) => {
    const expected = normal(1);
    const answer = sent(expected);
    answer[3] = value;
    expect(compareRow(answer, expected, INT8).verdict).toBe('mismatch');
  });
});

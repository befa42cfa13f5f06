import { createRng, f16Exponent, normalDraw } from '@shoal/model';
import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { arePlain, itemRows, roundedRows, rowScale, rowScaleByte, SMALLEST_ROW_SCALE } from './row-format.ts';

const HIDDEN = 40;
const magnitudes = fc.oneof(
  fc.double({ min: -65_504, max: 65_504, noNaN: true }),
  fc.double({ min: -4, max: 4, noNaN: true }),
  fc.double({ min: -1e-4, max: 1e-4, noNaN: true }),
);
const rows = fc
  .array(magnitudes, { minLength: 2 * HIDDEN, maxLength: 2 * HIDDEN })
  .map((values) => Float32Array.from(values));

describe('int8 rows', () => {
  it('lie within half a scale of what they round, and within one where the scale reaches beyond f16', () => {
    fc.assert(
      fc.property(rows, (values) => {
        const rounded = roundedRows('int8', values, HIDDEN);
        for (let first = 0; first < values.length; first += first % HIDDEN === 0 ? 32 : HIDDEN - 32) {
          const end = first % HIDDEN === 0 ? first + 32 : first + HIDDEN - 32;
          const max = Math.max(...values.subarray(first, end).map(Math.abs));
          const scale = Math.max(rowScale(rowScaleByte(max)), SMALLEST_ROW_SCALE);
          const slack = max > 127 * 512 ? scale : scale / 2;
          for (let i = first; i < end; i++)
            expect(Math.abs(rounded[i]! - values[i]!)).toBeLessThanOrEqual(slack * 1.0001);
        }
      }),
    );
  });

  it('are not changed by being rounded again, so that whoever computes with them computes the same', () => {
    fc.assert(
      fc.property(rows, (values) => {
        const once = roundedRows('int8', values, HIDDEN);
        expect(roundedRows('int8', once, HIDDEN)).toEqual(once);
      }),
      { numRuns: 1000 },
    );
  });

  it('nor is a block whose largest value lies halfway between two codes, of either sign', () => {
    const values = new Float32Array(HIDDEN);
    for (const halfway of [0.55908203125, 0.170654296875]) {
      for (const largest of [halfway, -halfway]) {
        values[0] = largest;
        values[1] = halfway * 0.447;
        const once = roundedRows('int8', values, HIDDEN);
        expect(roundedRows('int8', once, HIDDEN)).toEqual(once);
      }
    }
  });

  it('have scales that grow with the largest value, every one of them exact in f16 times any code', () => {
    let before = 0;
    for (let max = 1e-6; max < 65_504; max *= 1.01) {
      const byte = rowScaleByte(max);
      expect(byte).toBeGreaterThanOrEqual(before);
      before = byte;
      const scale = rowScale(byte);
      // Four significant bits and a step of at most an eighth above what is needed.
      if (scale > 2 ** -14) expect(scale).toBeLessThanOrEqual((max / 127) * 1.1251);
    }
  });

  it('reach beyond f16 with an exponent, and leave what is not finite as it is', () => {
    expect(roundedRows('int8', new Float32Array(HIDDEN).fill(65_504), HIDDEN)[0]).toBe(65_088);
    const large = new Float32Array(HIDDEN).fill(65_520);
    expect(itemRows('int8', large, HIDDEN).exponents).toEqual(Uint8Array.of(1));
    expect(Math.abs(roundedRows('int8', large, HIDDEN)[39]! / 65_520 - 1)).toBeLessThan(0.01);
    for (const bad of [Number.NaN, Number.POSITIVE_INFINITY, -3.402e38]) {
      const values = new Float32Array(HIDDEN).fill(bad);
      expect(roundedRows('int8', values, HIDDEN)).toEqual(values);
    }
  });
});

describe('outliers of int8 rows', () => {
  const rng = createRng(5);
  const normals = (count: number): Float32Array => Float32Array.from({ length: count }, () => normalDraw(rng));
  /** Normal rows with outliers of this size in these columns. */
  const withOutliers = (columns: readonly number[], size: number): Float32Array => {
    const values = normals(HIDDEN);
    for (const [i, column] of columns.entries()) values[column] = (i % 2 === 0 ? size : -size) * (1 + i / 10);
    return values;
  };
  const nmseWithout = (values: Float32Array, columns: readonly number[]): number => {
    const rounded = roundedRows('int8', values, HIDDEN);
    const rest = [...values.keys()].filter((i) => !columns.includes(i));
    const error = rest.reduce((sum, i) => sum + (rounded[i]! - values[i]!) ** 2, 0);
    return error / rest.reduce((sum, i) => sum + values[i]! ** 2, 0);
  };

  it.each([[[7]], [[0, 31]], [[3, 4, 35, 39]]])('in columns %j cost the rest of their blocks nothing', (columns) => {
    for (const size of [40, 2e4, 65_000, 2e5, 1e9]) {
      const values = withOutliers(columns, size);
      const rounded = roundedRows('int8', values, HIDDEN);
      for (const column of columns) expect(Math.abs(rounded[column]! / values[column]! - 1)).toBeLessThan(2 ** -11);
      // With larger exponents the rest is smaller than f16 resolves.
      if (size <= 2e5) expect(nmseWithout(values, columns)).toBeLessThan(1e-4);
      expect(roundedRows('int8', rounded, HIDDEN)).toEqual(rounded);
    }
  });

  it('are none in ordinary rows, which need no larger frame', () => {
    for (let i = 0; i < 300; i++) expect(arePlain('int8', normals(64), 64)).toBe(true);
    expect(arePlain('int8', withOutliers([5], 40), HIDDEN)).toBe(false);
    expect(arePlain('f16', withOutliers([5], 40), HIDDEN)).toBe(true);
  });

  it('are found again in what was rounded, whatever the sizes of a block’s values', () => {
    const sizes = fc.array(fc.double({ min: -6, max: 4.8, noNaN: true }), { minLength: HIDDEN, maxLength: HIDDEN });
    fc.assert(
      fc.property(sizes, fc.nat(), (logarithms, seed) => {
        const signs = createRng(seed);
        const values = Float32Array.from(logarithms, (log) => (signs() < 0.5 ? -1 : 1) * 10 ** log);
        const once = roundedRows('int8', values, HIDDEN);
        expect(f16Exponent(values)).toBe(0);
        expect(roundedRows('int8', once, HIDDEN)).toEqual(once);
      }),
      { numRuns: 2000 },
    );
  });
});

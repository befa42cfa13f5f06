import { decodeF16, f16ToF32 } from '@shoal/model';
import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { encodeInt8Rows, roundRows, rowScale, rowScaleByte, SMALLEST_ROW_SCALE } from './row-format.ts';

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
        const rounded = decodeF16(roundRows('int8', values, HIDDEN));
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
        const once = roundRows('int8', values, HIDDEN);
        expect(roundRows('int8', decodeF16(once), HIDDEN)).toEqual(once);
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
        const once = roundRows('int8', values, HIDDEN);
        expect(roundRows('int8', decodeF16(once), HIDDEN)).toEqual(once);
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

  it('refuse what f16 cannot hold, and reach to its end', () => {
    for (const bad of [Number.NaN, Number.POSITIVE_INFINITY, -65_600]) {
      const values = new Float32Array(HIDDEN).fill(bad);
      expect(() => encodeInt8Rows(values, HIDDEN, new Int8Array(HIDDEN), new Uint8Array(2))).toThrow(/range of f16/);
      expect(Math.abs(f16ToF32(roundRows('int8', values, HIDDEN)[0]!))).not.toBeLessThan(Number.POSITIVE_INFINITY);
    }
    expect(f16ToF32(roundRows('int8', new Float32Array(HIDDEN).fill(65_504), HIDDEN)[0]!)).toBe(65_088);
  });
});

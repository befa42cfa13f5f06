import { describe, expect, it } from 'vitest';
import { decodeF16, encodeF16, f16ToF32, f32ToF16 } from './f16.ts';

describe('binary16', () => {
  it('survives a round trip for all 65,536 bit patterns', () => {
    for (let half = 0; half < 0x10000; half++) {
      const x = f16ToF32(half);
      if (Number.isNaN(x)) expect(f32ToF16(x) & 0x7fff).toBeGreaterThan(0x7c00);
      else expect(f32ToF16(x)).toBe(half);
    }
  });

  it('rounds every midpoint between neighbours to even, and what lies beside it to the nearer', () => {
    for (let half = 0; half < 0x7bff; half++) {
      const low = f16ToF32(half);
      const high = f16ToF32(half + 1);
      const middle = (low + high) / 2; // exact in f32: both have 11 significant bits
      const even = half & 1 ? half + 1 : half;
      expect(f32ToF16(middle)).toBe(even);
      expect(f32ToF16(-middle)).toBe(even | 0x8000);
      expect(f32ToF16(middle - (high - low) / 8)).toBe(half);
      expect(f32ToF16(middle + (high - low) / 8)).toBe(half + 1);
    }
  });

  it('overflows to infinity at 65,520 and keeps 65,504 finite', () => {
    expect(f32ToF16(65504)).toBe(0x7bff);
    expect(f32ToF16(65519.996)).toBe(0x7bff);
    expect(f32ToF16(65520)).toBe(0x7c00);
    expect(f32ToF16(-1e9)).toBe(0xfc00);
    expect(f32ToF16(1e-10)).toBe(0);
  });

  it('converts arrays', () => {
    const x = Float32Array.of(1, -2.5, 0.333251953125);
    expect(decodeF16(encodeF16(x))).toEqual(x);
  });
});

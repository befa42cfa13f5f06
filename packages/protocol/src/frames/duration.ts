import { FrameError } from './error.ts';

/**
 * Times are sent as 16-bit floats: a 4-bit exponent e above a 12-bit mantissa m means m microseconds if e is 0, else
 * (4096 + m) × 2^(e−1). They are exact up to 8.191 ms, within 1 in 8,192 beyond, and end at 134 s.
 */
const MANTISSA_BITS = 12;
const ONE = 2 ** MANTISSA_BITS;
const MAX_CODE = 0xffff;
const MAX_US = durationUs(MAX_CODE);

/** Returns the nearest code for a time in microseconds, clamped to the last one. Throws a FrameError (`bad-count`) if negative or NaN. */
export function durationCode(name: string, us: number): number {
  if (!(us >= 0)) throw new FrameError('bad-count', `${name} must be a time in microseconds, got ${us}.`);
  if (us >= MAX_US) return MAX_CODE;
  if (us < ONE) return Math.round(us);
  const exponent = Math.floor(Math.log2(us)) - MANTISSA_BITS + 1;
  // Rounding up to the next power of two carries into the exponent, as intended.
  return exponent * ONE + Math.round(us / 2 ** (exponent - 1)) - ONE;
}

export function durationUs(code: number): number {
  const exponent = code >> MANTISSA_BITS;
  const mantissa = code & (ONE - 1);
  return exponent === 0 ? mantissa : (ONE + mantissa) * 2 ** (exponent - 1);
}

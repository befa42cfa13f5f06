import { FrameError } from './error.ts';

/**
 * Times travel in 16 bits, as a small float: 4 bits of exponent e above 12 of mantissa m stand for m microseconds where e is 0, else
 * for (4096 + m) × 2^(e−1). So they are whole up to 8.191 ms, within 1 in 8,192 of the truth beyond, and end at 134 s.
 */
const MANTISSA_BITS = 12;
const ONE = 2 ** MANTISSA_BITS;
const MAX_CODE = 0xffff;
const MAX_US = durationUs(MAX_CODE);

/** The code nearest to a time in microseconds; the last one for all that is longer. Throws a FrameError (`bad-count`) for what is no time. */
export function durationCode(name: string, us: number): number {
  if (!(us >= 0)) throw new FrameError('bad-count', `${name} must be a time in microseconds, got ${us}.`);
  if (us >= MAX_US) return MAX_CODE;
  if (us < ONE) return Math.round(us);
  const exponent = Math.floor(Math.log2(us)) - MANTISSA_BITS + 1;
  // What is rounded up to the next power of two carries into the exponent, as it should.
  return exponent * ONE + Math.round(us / 2 ** (exponent - 1)) - ONE;
}

export function durationUs(code: number): number {
  const exponent = code >> MANTISSA_BITS;
  const mantissa = code & (ONE - 1);
  return exponent === 0 ? mantissa : (ONE + mantissa) * 2 ** (exponent - 1);
}

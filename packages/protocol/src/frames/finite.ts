import { FrameError } from './error.ts';

const F16_EXPONENT = 0x7c00;

/** Index of the first binary16 ∞ or NaN (all exponent bits set); −1 if there is none. */
export function firstNotFiniteF16(bits: Uint16Array): number {
  for (let i = 0; i < bits.length; i++) if ((bits[i]! & F16_EXPONENT) === F16_EXPONENT) return i;
  return -1;
}

/** Throws a FrameError if a value is not finite, since it would spoil every sum that it enters. */
export function requireFiniteF16(name: string, bits: Uint16Array): void {
  const i = firstNotFiniteF16(bits);
  if (i >= 0) throw new FrameError('not-finite', `${name}[${i}] is NaN or ∞.`);
}

export function requireFiniteF32(name: string, values: Float32Array): void {
  for (let i = 0; i < values.length; i++) {
    if (!Number.isFinite(values[i])) throw new FrameError('not-finite', `${name}[${i}] is NaN or ∞.`);
  }
}

import { FrameError } from './error.ts';

const F16_EXPONENT = 0x7c00;

/** binary16 with all exponent bits set is ∞ or NaN; one such value would spoil every sum that it enters. */
export function requireFiniteF16(name: string, bits: Uint16Array): void {
  for (let i = 0; i < bits.length; i++) {
    if ((bits[i]! & F16_EXPONENT) === F16_EXPONENT) {
      throw new FrameError('not-finite', `${name}[${i}] is NaN or ∞.`);
    }
  }
}

export function requireFiniteF32(name: string, values: Float32Array): void {
  for (let i = 0; i < values.length; i++) {
    if (!Number.isFinite(values[i])) throw new FrameError('not-finite', `${name}[${i}] is NaN or ∞.`);
  }
}

import { createRng, normalDraw } from '@shoal/model';

/** Normally distributed values, the same for a seed. */
export function normal(count: number, seed: number, deviation = 1): Float32Array {
  const rng = createRng(seed);
  return Float32Array.from({ length: count }, () => deviation * normalDraw(rng));
}

/** Normalised mean squared error: Σ (x − reference)² / Σ reference². A NaN in `x` gives NaN, which exceeds no limit and keeps none. */
export function nmse(x: ArrayLike<number>, reference: ArrayLike<number>): number {
  let error = 0;
  let norm = 0;
  for (let i = 0; i < reference.length; i++) {
    error += (x[i]! - reference[i]!) ** 2;
    norm += reference[i]! ** 2;
  }
  return error === 0 ? 0 : error / norm;
}

import type { Rng } from '@shoal/model';

/** `sigma` is σ of ln. */
export function logNormal(rng: Rng, { median, sigma }: { median: number; sigma: number }): number {
  if (sigma === 0) return median;
  const normal = Math.sqrt(-2 * Math.log(1 - rng())) * Math.cos(2 * Math.PI * rng());
  return median * Math.exp(sigma * normal);
}

/** @param sorted ascending */
export function quantile(sorted: readonly number[], q: number): number {
  return sorted[Math.min(sorted.length - 1, Math.floor(q * sorted.length))] ?? 0;
}

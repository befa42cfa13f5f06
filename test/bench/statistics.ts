/** Quantiles of a number of samples; 0 if there are none. Ranks as in tools/simulate. */
export interface Quantiles {
  p50: number;
  p95: number;
  p99: number;
  count: number;
}

/** The q-quantile by nearest rank; 0 if there are no samples. */
export function quantileOf(samples: readonly number[], q: number): number {
  const sorted = [...samples].sort((a, b) => a - b);
  return sorted[Math.max(0, Math.ceil(q * sorted.length) - 1)] ?? 0;
}

export function quantilesOf(samples: readonly number[]): Quantiles {
  const of = (q: number): number => quantileOf(samples, q);
  return { p50: of(0.5), p95: of(0.95), p99: of(0.99), count: samples.length };
}

/** The least-squares line through points. */
export interface Trend {
  slope: number;
  /** Standard error of the slope, for independent residuals; ∞ for fewer than three points. */
  slopeError: number;
}

/** @param points [x, y] */
export function trendOf(points: readonly (readonly [number, number])[]): Trend {
  const n = points.length;
  const mean = (pick: 0 | 1): number => points.reduce((sum, point) => sum + point[pick], 0) / n;
  const [meanX, meanY] = [mean(0), mean(1)];
  const sxx = points.reduce((sum, [x]) => sum + (x - meanX) ** 2, 0);
  if (n < 2 || sxx === 0) return { slope: 0, slopeError: Number.POSITIVE_INFINITY };
  const slope = points.reduce((sum, [x, y]) => sum + (x - meanX) * (y - meanY), 0) / sxx;
  const residual = points.reduce((sum, [x, y]) => sum + (y - meanY - slope * (x - meanX)) ** 2, 0);
  return { slope, slopeError: n < 3 ? Number.POSITIVE_INFINITY : Math.sqrt(residual / (n - 2) / sxx) };
}

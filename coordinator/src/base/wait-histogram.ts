/** Upper bounds of buckets in milliseconds, as those of the metric `shoal_time_to_first_token_seconds`; one more bucket is above all. */
export const FIRST_TOKEN_BOUNDS_MS = [
  20, 50, 100, 200, 350, 500, 750, 1_000, 1_500, 2_000, 3_000, 5_000, 10_000, 20_000, 60_000, 120_000, 300_000, 600_000,
] as const;

/** Counts of one bucket more than there are bounds: they can be added over members and times, unlike quantiles. */
export type WaitCounts = number[];

export const noWaits = (): WaitCounts => Array.from({ length: FIRST_TOKEN_BOUNDS_MS.length + 1 }, () => 0);

export function addWait(counts: WaitCounts, ms: number): void {
  const bucket = FIRST_TOKEN_BOUNDS_MS.findIndex((bound) => ms <= bound);
  counts[bucket < 0 ? FIRST_TOKEN_BOUNDS_MS.length : bucket]!++;
}

export function addWaits(counts: WaitCounts, more: readonly number[]): void {
  for (const [i, count] of more.entries()) counts[i]! += count;
}

export const waitsIn = (counts: readonly number[]): number => counts.reduce((sum, count) => sum + count, 0);

/**
 * The q-quantile in milliseconds, taken as even within its bucket (as Prometheus's `histogram_quantile` does); null of none. What
 * is above the last bound counts as the last bound.
 */
export function waitQuantile(counts: readonly number[], q: number): number | null {
  const all = waitsIn(counts);
  if (all === 0) return null;
  let below = 0;
  for (const [i, count] of counts.entries()) {
    if (count === 0 || below + count < q * all) {
      below += count;
      continue;
    }
    const to = FIRST_TOKEN_BOUNDS_MS[i];
    if (to === undefined) break;
    const from = FIRST_TOKEN_BOUNDS_MS[i - 1] ?? 0;
    return from + (to - from) * ((q * all - below) / count);
  }
  return FIRST_TOKEN_BOUNDS_MS.at(-1)!;
}

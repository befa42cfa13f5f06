import { FIRST_TOKEN_BOUNDS_MS, noWaits } from '../base/wait-histogram.ts';

/**
 * What is kept of a span of time: only sums, so that samples of several coordinators, and of many spans, are added to those of all
 * of them and of longer ones. Means are what is summed over time (`…Ms`: a level × milliseconds) by the time that was measured.
 */
export const SUMS = [
  /** Milliseconds in which the coordinator measured. */
  'spanMs',
  'tokens',
  'streamMs',
  'queuedMs',
  'tabMs',
  /** Milliseconds × experts that are on tabs by plan, and of those that a tab held. */
  'expertMs',
  'coveredMs',
  'laps',
  'bytes',
  /** (row, expert) products for answers, and those that the coordinator did because no tab could. */
  'work',
  'fallback',
  'errors',
  'refused',
] as const;
export type SumName = (typeof SUMS)[number];

export type Sample = Record<SumName, number> & {
  /** First tokens by how long they took. */
  firstTokens: number[];
};

export function emptySample(): Sample {
  return { ...(Object.fromEntries(SUMS.map((name) => [name, 0])) as Record<SumName, number>), firstTokens: noWaits() };
}

export function addSample(to: Sample, more: Sample): Sample {
  for (const name of SUMS) to[name] += more[name];
  for (const [i, count] of more.firstTokens.entries()) to.firstTokens[i]! += count;
  return to;
}

/** Columns of the buckets, in their order. */
export const BUCKETS = FIRST_TOKEN_BOUNDS_MS.length + 1;

/** Seconds that a kept row is about. A sample is added to a row of each. */
export const STEPS_S = [60, 3_600, 86_400] as const;
export type StepS = (typeof STEPS_S)[number];

/** How long rows of each step are kept in memory; in the database, `RETENTION` says the same. */
export const KEPT_S: Readonly<Record<StepS, number>> = {
  60: 2 * 86_400,
  3_600: 35 * 86_400,
  86_400: 1_095 * 86_400,
};

/** The rows that points of a step are made from: the coarsest that divide it. */
export function sourceStep(stepS: number): StepS {
  return STEPS_S.findLast((step) => stepS % step === 0) ?? 60;
}

import { z } from 'zod';

/** What the console shows: how far back, and the time of each point. */
export const HISTORY_RANGES = {
  '1h': { spanS: 3_600, stepS: 60 },
  '24h': { spanS: 86_400, stepS: 600 },
  '7d': { spanS: 604_800, stepS: 3_600 },
  '30d': { spanS: 2_592_000, stepS: 14_400 },
} as const;
export type HistoryRange = keyof typeof HISTORY_RANGES;

export const historyQuerySchema = z.strictObject({
  range: z.enum(Object.keys(HISTORY_RANGES) as [HistoryRange, ...HistoryRange[]]).default('24h'),
  /** Name of one coordinator; without it the figures are of all together. */
  member: z.string().min(1).max(256).optional(),
});
export type HistoryQuery = z.infer<typeof historyQuerySchema>;

/** Figures of one point of time; null where there was nothing to measure them by. */
export interface HistoryPoint {
  /** Start, in epoch milliseconds. */
  atMs: number;
  /** Share of the time in which a coordinator was there to measure, 0 to 1. */
  measuredShare: number;
  tokensPerSecond: number;
  /** Means. */
  streams: number;
  queued: number;
  tabs: number;
  /** Mean share of experts that a tab held, 0 to 1; null for a model without experts on tabs. */
  coverage: number | null;
  firstTokenMsP50: number | null;
  firstTokenMsP95: number | null;
  lapsPerSecond: number;
  bytesPerSecond: number;
  /** Share of expert work that the coordinator did because no tab could, 0 to 1. */
  fallbackShare: number | null;
  /** Requests that failed, and that were refused because the queue was full. */
  errors: number;
  refused: number;
}

/** What all coordinators have done since the first sample that is kept. */
export interface HistoryTotals {
  /** Midnight (UTC) of the first day, in epoch milliseconds; null before the first sample. */
  sinceMs: number | null;
  tokens: number;
  laps: number;
  bytes: number;
  errors: number;
  /** Hours of tabs. */
  tabHours: number;
}

export interface History {
  range: HistoryRange;
  member: string | null;
  stepS: number;
  fromMs: number;
  toMs: number;
  /** `process`: there is no database, so it begins at this start. */
  kept: 'database' | 'process';
  /** Coordinators that have figures in this range, by name. */
  members: string[];
  /** One for each step, oldest first; null where no coordinator measured anything. */
  points: (HistoryPoint | null)[];
  totals: HistoryTotals;
}

import { type History, HISTORY_RANGES, type HistoryQuery, type HistoryTotals } from '@shoal/protocol';
import { type Measured, pointsOf } from './points.ts';
import { addSample, emptySample, type Sample, sourceStep, type StepS } from './sample.ts';

/** Where samples are kept. */
export interface HistoryStore {
  readonly kept: History['kept'];
  /** Adds what was measured from `atMs` on. Never waits. */
  add(atMs: number, sample: Sample): void;
  /** Rows of a step that begin in a time; may reject while a database is away. */
  read(stepS: StepS, fromMs: number, toMs: number): Promise<Measured[]>;
  /** The sum of everything that is kept, and the day (UTC) of its first sample. */
  total(): Promise<{ sinceMs: number | null; sample: Sample }>;
}

/** Answers for admins from what is kept, and from what has not been handed over yet. */
export async function historyOf(store: HistoryStore, { range, member }: HistoryQuery, nowMs: number): Promise<History> {
  const { spanS, stepS } = HISTORY_RANGES[range];
  const stepMs = stepS * 1_000;
  // The step that is under way is the last point.
  const toMs = (Math.floor(nowMs / stepMs) + 1) * stepMs;
  const fromMs = toMs - spanS * 1_000;
  const [rows, total] = await Promise.all([store.read(sourceStep(stepS), fromMs, toMs), store.total()]);
  const members = [...new Set(rows.map((row) => row.member))].toSorted();
  const wanted = member === undefined ? rows : rows.filter((row) => row.member === member);
  return {
    range,
    member: member ?? null,
    stepS,
    fromMs,
    toMs,
    kept: store.kept,
    members,
    points: pointsOf(wanted, { fromMs, toMs, stepMs, nowMs }),
    totals: totalsOf(total),
  };
}

function totalsOf({ sinceMs, sample }: { sinceMs: number | null; sample: Sample }): HistoryTotals {
  const { tokens, laps, bytes, errors, tabMs } = sample;
  return { sinceMs, tokens, laps, bytes, errors, tabHours: tabMs / 3_600_000 };
}

export const sumOf = (rows: readonly Measured[]): Sample =>
  rows.reduce((sum, { sample }) => addSample(sum, sample), emptySample());

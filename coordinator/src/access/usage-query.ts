import { MAX_USAGE_DAYS, USAGE_PARTS, type UsagePart, type UsageQuery, type UsageReport } from '@shoal/protocol';
import { csvLine } from '../base/csv.ts';
import { AccessError } from './access-book.ts';

const DAY_MS = 86_400_000;
const DEFAULT_DAYS = 30;

/** A day in UTC as `2030-01-31`. */
export function utcDay(timeMs: number): string {
  return new Date(timeMs).toISOString().slice(0, 10);
}

/** The present day in UTC. */
export function today(): string {
  return utcDay(Date.now());
}

export interface UsageWindow {
  /** The first and the last day, both included. */
  from: string;
  to: string;
  /** What rows are told apart by, in the order of `USAGE_PARTS`. */
  by: readonly UsagePart[];
}

/** What a query means: by default the 30 days until today. Throws an AccessError. */
export function usageWindow({ from, to, by }: UsageQuery, nowMs = Date.now()): UsageWindow {
  const last = to ?? utcDay(nowMs);
  const first = from ?? utcDay(Date.parse(last) - (DEFAULT_DAYS - 1) * DAY_MS);
  const days = (Date.parse(last) - Date.parse(first)) / DAY_MS + 1;
  if (days < 1) throw new AccessError('invalid', `from (${first}) is after to (${last}).`);
  if (days > MAX_USAGE_DAYS)
    throw new AccessError('invalid', `from ${first} to ${last} are ${days} days; ask for ${MAX_USAGE_DAYS} at most.`);
  const asked = by?.split(',');
  return { from: first, to: last, by: USAGE_PARTS.filter((part) => asked?.includes(part) ?? true) };
}

const FIGURES = ['requests', 'refusals', 'promptTokens', 'completionTokens'] as const;

/** A report as CSV (RFC 4180), with a header line. */
export function usageCsv({ rows }: UsageReport, by: readonly UsagePart[]): string {
  const columns = [...by, ...FIGURES];
  return [csvLine(columns), ...rows.map((row) => csvLine(columns.map((name) => String(row[name] ?? ''))))].join('');
}

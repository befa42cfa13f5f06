import type { UsageQuery, UsageReport, UsageRow } from '@shoal/protocol';
import type { Kysely } from 'kysely';
import type { Tables } from '../database/tables.ts';
import { AccessError } from './access-book.ts';
import { usageWindow } from './usage-query.ts';

/** Rows of a report: of a thousand keys, a month with one model. */
const MAX_ROWS = 32_000;

const FIGURES = {
  requests: 'requests',
  refusals: 'refusals',
  promptTokens: 'prompt_tokens',
  completionTokens: 'completion_tokens',
} as const;

/** What was used, as it was written up to about a second ago. Throws an AccessError for a query that has no answer. */
export async function usageReport(db: Kysely<Tables>, query: UsageQuery): Promise<UsageReport> {
  const { from, to, by } = usageWindow(query);
  const parts = by.map((part) => `usage.${part}` as const);
  let rows = db
    .selectFrom('usage')
    .select(parts)
    .select(({ fn }) => Object.entries(FIGURES).map(([name, column]) => fn.sum(column).as(name)))
    .where('day', '>=', from)
    .where('day', '<=', to)
    .groupBy(parts);
  for (const part of parts) rows = rows.orderBy(part);
  if (query.key !== undefined) rows = rows.where('key', '=', query.key);
  if (query.model !== undefined) rows = rows.where('model', '=', query.model);
  const found = await rows.limit(MAX_ROWS + 1).execute();
  if (found.length > MAX_ROWS) {
    const message = `This report has more than ${MAX_ROWS} rows. Ask for fewer days, for one key, or leave out a part of by.`;
    throw new AccessError('invalid', message);
  }
  return { from, to, rows: found.map(rowOf) };
}

/** Without a part to tell rows apart by, the sums of no rows are null. Sums of bigint come as text. */
function rowOf(found: object): UsageRow {
  const figures = Object.keys(FIGURES) as (keyof typeof FIGURES)[];
  const row = found as Record<string, string | null>;
  return {
    ...row,
    ...Object.fromEntries(figures.map((name) => [name, Number(row[name] ?? 0)])),
  } as unknown as UsageRow;
}

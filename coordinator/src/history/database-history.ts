import { sql } from 'kysely';
import type { CounterBook, Database, HistoryBucket, HistorySum, WriteQueue } from '../database/index.ts';
import type { HistoryStore } from './history.ts';
import { startOf } from './memory-history.ts';
import type { Measured } from './points.ts';
import { BUCKETS, emptySample, type Sample, STEPS_S, type StepS, SUMS } from './sample.ts';

interface HistoryKey {
  cluster: string;
  step_s: number;
  /** ISO 8601. */
  at: string;
  member: string;
}
type HistoryColumn = HistorySum | HistoryBucket;

/** `spanMs` is in `span_ms`. */
const columnOf = (name: string): HistorySum =>
  name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`) as HistorySum;
const SUM_COLUMNS = SUMS.map((name) => [name, columnOf(name)] as const);
const BUCKET_COLUMNS = Array.from({ length: BUCKETS }, (_, i) => `first_${i}` as HistoryBucket);
const COLUMNS: readonly HistoryColumn[] = [...SUM_COLUMNS.map(([, column]) => column), ...BUCKET_COLUMNS];

/** Adds to rows, so that a minute's sample is in the rows of its hour and of its day as well, and none has to be rolled up later. */
const HISTORY: CounterBook<HistoryKey, HistoryColumn> = {
  what: 'history',
  keys: ['cluster', 'step_s', 'at', 'member'],
  write: (db, rows) =>
    db
      .insertInto('history')
      .values(rows.map(({ at, ...row }) => ({ ...row, at: new Date(at) })))
      .onConflict((conflict) =>
        conflict
          .columns(['cluster', 'step_s', 'at', 'member'])
          .doUpdateSet((eb) =>
            Object.fromEntries(
              COLUMNS.map((name) => [name, eb(`history.${name}`, '+', eb.ref(`excluded.${name}`))] as const),
            ),
          ),
      )
      .execute(),
};

export interface DatabaseHistoryOptions {
  database: Database;
  queue: WriteQueue;
  /** Whose history it is: members of another model have their own. */
  cluster: string;
  /** The name of this coordinator, the same after a restart. */
  member: string;
}

/** Keeps samples in the database, those of all coordinators of the cluster. */
export class DatabaseHistory implements HistoryStore {
  readonly kept = 'database';
  readonly #options: DatabaseHistoryOptions;
  readonly #add: (key: HistoryKey, more: Partial<Record<HistoryColumn, number>>) => void;

  constructor(options: DatabaseHistoryOptions) {
    this.#options = options;
    this.#add = options.queue.countersOf(HISTORY);
  }

  add(atMs: number, sample: Sample): void {
    const { cluster, member } = this.#options;
    const more: Partial<Record<HistoryColumn, number>> = {};
    for (const [name, column] of SUM_COLUMNS) more[column] = sample[name];
    for (const [i, column] of BUCKET_COLUMNS.entries()) more[column] = sample.firstTokens[i]!;
    for (const step of STEPS_S) {
      const at = new Date(startOf(atMs, step)).toISOString();
      this.#add({ cluster, step_s: step, at, member }, more);
    }
  }

  async read(stepS: StepS, fromMs: number, toMs: number): Promise<Measured[]> {
    const { database, cluster } = this.#options;
    const rows = await database.db
      .selectFrom('history')
      .selectAll()
      .where('cluster', '=', cluster)
      .where('step_s', '=', stepS)
      .where('at', '>=', new Date(fromMs))
      .where('at', '<', new Date(toMs))
      .orderBy('at')
      .execute();
    return rows.map((row) => ({ atMs: row.at.getTime(), member: row.member, sample: sampleOf(row) }));
  }

  async total(): Promise<{ sinceMs: number | null; sample: Sample }> {
    const { database, cluster } = this.#options;
    const sums = await database.db
      .selectFrom('history')
      .select(COLUMNS.map((name) => sql<number>`coalesce(sum(${sql.ref(name)}), 0)::float8`.as(name)))
      .select(sql<Date | null>`min(at)`.as('since'))
      .where('cluster', '=', cluster)
      .where('step_s', '=', 86_400)
      .executeTakeFirstOrThrow();
    const { since, ...row } = sums as Record<HistoryColumn, number> & { since: Date | null };
    return { sinceMs: since?.getTime() ?? null, sample: sampleOf(row) };
  }
}

function sampleOf(row: Readonly<Record<HistoryColumn, number>>): Sample {
  const sample = emptySample();
  for (const [name, column] of SUM_COLUMNS) sample[name] = row[column];
  sample.firstTokens = BUCKET_COLUMNS.map((column) => row[column] ?? 0);
  return sample;
}

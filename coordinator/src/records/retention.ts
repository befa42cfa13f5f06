import { type RawBuilder, sql } from 'kysely';
import type { Database } from '../database/index.ts';

/** How long each kind of records is kept. docs/OPERATIONS.md and docs/security.md say the same. */
export const RETENTION = {
  eventDays: 30,
  events: 100_000,
  findingDays: 365,
  /** After a donor's last visit; then its work and name are forgotten. */
  donorDays: 365,
  usageDays: 730,
  /** From the last failure on: a week is the longest quarantine, and failures fade in three days. */
  quarantineDays: 8,
  batchDays: 1,
  /** After a ban has ended or was lifted. */
  banDays: 30,
  /** Of the history, by the time that a row is about: 24 h in minutes and 30 d in hours are shown. */
  historyDays: { minutes: 2, hours: 35, days: 1_095 },
};

const FIRST_MS = 60_000;
const PERIOD_MS = 3_600_000;
/** Rows of one statement, so that none takes long. */
const MAX_ROWS = 5_000;

const days = (count: number): RawBuilder<unknown> => sql`make_interval(days => ${sql.lit(count)})`;

function historyGone(stepS: number, after: number): [table: string, isGone: RawBuilder<unknown>][] {
  return [['history', sql`step_s = ${sql.lit(stepS)} and at < now() - ${days(after)}`]];
}
/** No browser of the account was here for so long. */
const isForgotten = sql`not exists (select 1 from donors b
  where coalesce(b.shared_with, b.donor) = coalesce(d.shared_with, d.donor)
    and b.last_seen >= now() - ${days(RETENTION.donorDays)})`;

/** What may go, as table, condition. All by the database's clock. */
const GONE: readonly (readonly [table: string, isGone: RawBuilder<unknown>])[] = [
  ['events', sql`at < now() - ${days(RETENTION.eventDays)}`],
  ['events', sql`id < (select id from events order by id desc offset ${sql.lit(RETENTION.events)} limit 1)`],
  ['findings', sql`at < now() - ${days(RETENTION.findingDays)}`],
  ['usage', sql`day < current_date - ${sql.lit(RETENTION.usageDays)}`],
  ['donor_days', sql`donor in (select d.donor from donors d where ${isForgotten})`],
  [
    'donors',
    sql`donor in (select d.donor from donors d where ${isForgotten}) and not exists (select 1 from donor_days where donor_days.donor = donors.donor)`,
  ],
  ['link_codes', sql`ends_at < now()`],
  ['teams', sql`not exists (select 1 from donors where team = teams.id)`],
  ['quarantine', sql`at < now() - ${days(RETENTION.quarantineDays)} and (until is null or until < now())`],
  ['bans', sql`coalesce(lifted_at, until) < now() - ${days(RETENTION.banDays)}`],
  ['bans', sql`kind = 'lifted' and at < now() - ${days(RETENTION.quarantineDays)}`],
  ...historyGone(60, RETENTION.historyDays.minutes),
  ...historyGone(3_600, RETENTION.historyDays.hours),
  ...historyGone(86_400, RETENTION.historyDays.days),
  ['written_batches', sql`at < now() - ${days(RETENTION.batchDays)}`],
];

/** Deletes what is older than RETENTION says. */
export async function deleteOld({ db }: Database): Promise<void> {
  for (const [table, isGone] of GONE) {
    const name = sql.table(table);
    for (let left = MAX_ROWS; left === MAX_ROWS;) {
      const found = sql`select ctid from ${name} where ${isGone} limit ${sql.lit(MAX_ROWS)}`;
      const { numAffectedRows } = await sql`delete from ${name} where ctid = any (array(${found}))`.execute(db);
      left = Number(numAffectedRows ?? 0);
    }
  }
}

/** Does so in the background, soon after the start and then every hour. Returns the call that stops. */
export function deleteOldRegularly(database: Database): () => void {
  // What fails now is tried again in an hour.
  const run = (): void => void (database.isAway || deleteOld(database).catch(() => {}));
  const first = setTimeout(run, FIRST_MS).unref();
  const timer = setInterval(run, PERIOD_MS).unref();
  return () => {
    clearTimeout(first);
    clearInterval(timer);
  };
}

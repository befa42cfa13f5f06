import type { Figures } from '@shoal/protocol';
import { sql } from 'kysely';
import type { Database, WriteQueue } from '../database/index.ts';
import { DONOR_DAYS, DONORS } from '../records/books.ts';
import { addFigures, type KeptAccount, newAccount, noFigures, weekStart } from './account.ts';

interface DayRow extends Figures {
  /** Null: all days before the week. */
  day: string | null;
  since: string | null;
}

/** The sums of columns of donor_days, as figures. */
export const SUMS = sql<Figures>`
  coalesce(sum(tokens_helped), 0)::double precision as tokens, coalesce(sum(rows), 0)::double precision as rows,
  coalesce(sum(verified_rows), 0)::double precision as "verifiedRows",
  coalesce(sum(served_seconds), 0)::double precision as "servedSeconds",
  coalesce(sum(busy_seconds), 0)::double precision as "busySeconds"`;

/** Reads accounts. All of it rejects while the database is away. */
export class AccountReader {
  readonly #database: Database;
  readonly #queue: WriteQueue;

  constructor(database: Database, queue: WriteQueue) {
    this.#database = database;
    this.#queue = queue;
  }

  /** A donor's account, with what this process has handed over so far. */
  async read(donor: string): Promise<KeptAccount> {
    if (this.#database.isAway) throw new Error('The database is away.');
    await this.#queue.flush();
    if (this.#queue.rows > 0) throw new Error('What was done could not be written yet.');
    const { db } = this.#database;
    const main = await this.mainOf(donor);
    const row = await db
      .selectFrom('donors')
      .leftJoin('teams', 'teams.id', 'donors.team')
      .where('donor', '=', main)
      .select(['donors.name', 'donors.listed', 'donors.spent', 'teams.id as team', 'teams.name as teamName'])
      .select(
        sql<number>`(select count(*) from donors b where b.donor = ${main} or b.shared_with = ${main})`.as('browsers'),
      )
      .executeTakeFirst();
    const days = await this.#days(main, donor);
    if (!row) return { ...newAccount(main), ...days };
    const { name, listed, spent, team, teamName, browsers } = row;
    const itsTeam = team === null ? null : { id: team, name: teamName! };
    return { main, name, listed, spent, browsers: Math.max(1, browsers), team: itsTeam, ...days };
  }

  /** The donor whose row has the account's name. */
  async mainOf(donor: string): Promise<string> {
    const row = await this.#database.db
      .selectFrom('donors')
      .where('donor', '=', donor)
      .select('shared_with')
      .executeTakeFirst();
    return row?.shared_with ?? donor;
  }

  /** Counts what was done under a browser's token, before it had a key, for its key. */
  async adopt(donor: string, tokenId: string): Promise<void> {
    const { db } = this.#database;
    const days = await db.selectFrom('donor_days').where('donor', '=', tokenId).selectAll().execute();
    if (days.length === 0) return;
    await this.#queue.flush();
    await db.transaction().execute(async (within) => {
      const moved = await within.deleteFrom('donor_days').where('donor', '=', tokenId).returningAll().execute();
      await within.deleteFrom('donors').where('donor', '=', tokenId).execute();
      await DONORS.write(within, [{ donor }]);
      if (moved.length > 0)
        await DONOR_DAYS.write(
          within,
          moved.map((row) => ({ ...row, donor })),
        );
    });
  }

  async #days(main: string, donor: string): Promise<Pick<KeptAccount, 'days' | 'earlier' | 'sinceMs'>> {
    const since = weekStart(Date.now());
    const { rows } = await sql<DayRow>`
      select case when day >= ${since}::date then to_char(day, 'YYYY-MM-DD') end as day,
        to_char(min(day), 'YYYY-MM-DD') as since, ${SUMS}
      from donor_days
      where donor = ${donor} or donor in (select donor from donors where donor = ${main} or shared_with = ${main})
      group by 1`.execute(this.#database.db);
    const days = new Map<string, Figures>();
    const earlier = noFigures();
    for (const { day, since: _, ...figures } of rows)
      if (day === null) addFigures(earlier, figures);
      else days.set(day, figures);
    const first = rows.flatMap(({ since: itsFirst }) => itsFirst ?? []).toSorted()[0];
    return { days, earlier, sinceMs: first === undefined ? null : Date.parse(first) };
  }
}

import { createHash, randomBytes } from 'node:crypto';
import { type ContributionMade, type ContributionRequest, nameKey } from '@shoal/protocol';
import { sql } from 'kysely';
import pg from 'pg';
import type { Database, Tables } from '../database/index.ts';
import type { Kysely } from 'kysely';

/** What a donor asked for is not possible; the message says why, and what to do. */
export class ContributionError extends Error {}

/** A code for another browser is valid for so long. */
const LINK_MINUTES = 15;
const MAX_BROWSERS = 16;
const MAX_TEAMS = 10_000;
const SECRET_BYTES = 24;

type Change = Exclude<ContributionRequest, { do: 'look' }>;
type Within = Kysely<Tables>;

const NO_WORK =
  'Nothing that this browser did has been checked yet. Lend your GPU for a minute first; then this is possible.';

/** Changes accounts in the database. Rejects with a ContributionError where a change is not possible. */
export class AccountBook {
  readonly #database: Database;

  constructor(database: Database) {
    this.#database = database;
  }

  /** `donor`: who has proven to be it. */
  change(donor: string, change: Change): Promise<ContributionMade> {
    return this.#database.db.transaction().execute(async (db) => {
      const own = await db.selectFrom('donors').where('donor', '=', donor).selectAll().executeTakeFirst();
      // A code is given by somebody who has done some work.
      if (!own && change.do !== 'redeem' && change.do !== 'delete') throw new ContributionError(NO_WORK);
      const main = own?.shared_with ?? donor;
      switch (change.do) {
        case 'name':
          await rename(db, main, change.name, change.listed);
          return {};
        case 'found-team':
          await foundTeam(db, main, change.name);
          return {};
        case 'join-team':
          await joinTeam(db, main, change.team);
          return {};
        case 'leave-team':
          await joinTeam(db, main, null);
          return {};
        case 'link':
          return { link: await makeLink(db, main) };
        case 'redeem':
          await redeem(db, donor, main, change.code);
          return {};
        case 'picture':
          return { picture: await makePicture(db, main) };
        case 'credit-token':
          return { token: await makeCreditToken(db, main) };
        case 'delete':
          await forget(db, donor, main);
          return {};
      }
      return change satisfies never;
    });
  }

  /** Takes the name away from whoever has it, and says whether somebody had. */
  async clearName(name: string): Promise<boolean> {
    const cleared = await this.#database.db
      .updateTable('donors')
      .set({ name: null, name_key: null, listed: false })
      .where('name_key', '=', nameKey(name))
      .executeTakeFirst();
    return Number(cleared.numUpdatedRows) > 0;
  }

  /** Dissolves a team; its members keep what they did. */
  async dissolveTeam(team: number): Promise<boolean> {
    const gone = await this.#database.db.deleteFrom('teams').where('id', '=', team).executeTakeFirst();
    return Number(gone.numDeletedRows) > 0;
  }
}

const hashOf = (secret: string): string => createHash('sha256').update(secret).digest('hex');
const newSecret = (): string => randomBytes(SECRET_BYTES).toString('base64url');

/** Runs a statement after whose failure the transaction is over, with a sentence for the donor. */
async function orElse<T>(work: Promise<T>, sqlState: string, message: string): Promise<T> {
  try {
    return await work;
  } catch (error) {
    if (error instanceof pg.DatabaseError && error.code === sqlState) throw new ContributionError(message);
    throw error;
  }
}
const UNIQUE = '23505';
const FOREIGN_KEY = '23503';

async function rename(db: Within, main: string, name: string | null, listed: boolean): Promise<void> {
  const set = { name, name_key: name === null ? null : nameKey(name), listed: listed && name !== null };
  const taken = `The name ${name} is taken. Choose another.`;
  await orElse(db.updateTable('donors').set(set).where('donor', '=', main).execute(), UNIQUE, taken);
}

async function foundTeam(db: Within, main: string, name: string): Promise<void> {
  const [founded] = await db.selectFrom('teams').where('founder', '=', main).select('name').limit(1).execute();
  if (founded) throw new ContributionError(`You have founded the team ${founded.name} already. Leave it first.`);
  const { count } = await db
    .selectFrom('teams')
    .select(sql<number>`count(*)`.as('count'))
    .executeTakeFirstOrThrow();
  if (count >= MAX_TEAMS) throw new ContributionError('There are as many teams as there may be. Join one of them.');
  const made = db
    .insertInto('teams')
    .values({ name, name_key: nameKey(name), founder: main })
    .returning('id')
    .executeTakeFirstOrThrow();
  const { id } = await orElse(made, UNIQUE, `There is a team of the name ${name} already.`);
  await joinTeam(db, main, id);
}

async function joinTeam(db: Within, main: string, team: number | null): Promise<void> {
  const before = await db.selectFrom('donors').where('donor', '=', main).select('team').executeTakeFirst();
  const joined = db.updateTable('donors').set({ team }).where('donor', '=', main).execute();
  await orElse(joined, FOREIGN_KEY, 'There is no such team any more.');
  if (before?.team != null && before.team !== team) await dropEmpty(db, before.team);
}

/** A team ends with its last member. */
const dropEmpty = (db: Within, team: number) =>
  db
    .deleteFrom('teams')
    .where('id', '=', team)
    .where(({ not, exists, selectFrom }) => not(exists(selectFrom('donors').select('donor').where('team', '=', team))))
    .execute();

async function makeLink(db: Within, donor: string): Promise<{ code: string; endsMs: number }> {
  const code = newSecret();
  const ends = sql<Date>`now() + make_interval(mins => ${sql.lit(LINK_MINUTES)})`;
  const link = { code_hash: hashOf(code), ends_at: ends };
  const { ends_at: endsAt } = await db
    .insertInto('link_codes')
    .values({ donor, ...link })
    .onConflict((conflict) => conflict.column('donor').doUpdateSet(link))
    .returning('ends_at')
    .executeTakeFirstOrThrow();
  return { code, endsMs: endsAt.getTime() };
}

/** The browser's account, with all of its browsers, becomes a part of the one that the code is of. */
async function redeem(db: Within, donor: string, main: string, code: string): Promise<void> {
  const found = await db
    .deleteFrom('link_codes')
    .where('code_hash', '=', hashOf(code))
    .where('ends_at', '>', sql<Date>`now()`)
    .returning('donor')
    .executeTakeFirst();
  if (!found)
    throw new ContributionError(
      `This link was used already, or is older than ${LINK_MINUTES} minutes. Make a new one in the other browser.`,
    );
  const target = found.donor;
  if (target === main) throw new ContributionError('This browser belongs to that account already.');
  await db
    .insertInto('donors')
    .values({ donor })
    .onConflict((conflict) => conflict.doNothing())
    .execute();
  const ofAccount = (account: string) =>
    db.selectFrom('donors').where(({ or, eb }) => or([eb('donor', '=', account), eb('shared_with', '=', account)]));
  const [moving, there] = await Promise.all(
    [main, target].map((account) => ofAccount(account).select(['donor', 'spent']).execute()),
  );
  if (moving!.length + there!.length > MAX_BROWSERS)
    throw new ContributionError(`An account has at most ${MAX_BROWSERS} browsers.`);
  const spent = moving!.reduce((sum, row) => sum + row.spent, 0);
  const left = await db.selectFrom('donors').where('donor', '=', main).select('team').executeTakeFirst();
  const nothing = { name: null, name_key: null, listed: false, team: null, picture_id: null, credit_token_hash: null };
  const moved = moving!.map((row) => row.donor);
  await db.deleteFrom('link_codes').where('donor', 'in', moved).execute();
  await db
    .updateTable('donors')
    .set({ ...nothing, spent: 0, shared_with: target })
    .where('donor', 'in', moved)
    .execute();
  await db
    .updateTable('donors')
    .set((eb) => ({ spent: eb('spent', '+', spent) }))
    .where('donor', '=', target)
    .execute();
  if (left?.team != null) await dropEmpty(db, left.team);
}

async function makePicture(db: Within, main: string): Promise<string> {
  const { picture_id: picture } = await db
    .updateTable('donors')
    .set({ picture_id: sql<string>`coalesce(picture_id, ${newSecret()})` })
    .where('donor', '=', main)
    .returning('picture_id')
    .executeTakeFirstOrThrow();
  return picture!;
}

async function makeCreditToken(db: Within, main: string): Promise<string> {
  const token = newSecret();
  await db
    .updateTable('donors')
    .set({ credit_token_hash: hashOf(token) })
    .where('donor', '=', main)
    .execute();
  return token;
}

/** Deletes an account: its name, its browsers, what they did, and its team if it was the last member. */
async function forget(db: Within, donor: string, main: string): Promise<void> {
  const rows = await db
    .selectFrom('donors')
    .where(({ or, eb }) => or([eb('donor', '=', main), eb('shared_with', '=', main)]))
    .select(['donor', 'team'])
    .execute();
  const donors = [...new Set([donor, ...rows.map((row) => row.donor)])];
  await db.deleteFrom('donor_days').where('donor', 'in', donors).execute();
  await db.deleteFrom('donors').where('donor', 'in', donors).execute();
  for (const { team } of rows) if (team !== null) await dropEmpty(db, team);
}

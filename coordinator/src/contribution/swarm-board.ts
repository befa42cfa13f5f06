import type { Figures, SwarmView, TeamView } from '@shoal/protocol';
import { sql } from 'kysely';
import { type Clock, systemClock } from '../base/clock.ts';
import type { Database } from '../database/index.ts';
import { noFigures, weekStart } from './account.ts';
import { SUMS } from './account-reader.ts';
import { pictureOf } from './picture.ts';

/** Long enough that anyone may ask at any rate: the sums are made at most so often. */
const FRESH_MS = 10_000;
const MAX_LISTED = 100;
/** Teams and pictures that are remembered for that time. */
const MAX_REMEMBERED = 256;

type Donated = Pick<SwarmView, 'kept' | 'totals' | 'contributors' | 'teams'>;
export type SwarmFacts = Omit<SwarmView, keyof Donated | 'madeMs'>;

export interface SwarmBoardOptions {
  /** Undefined where nothing is kept. */
  database: Database | undefined;
  /** What is served now. */
  facts: () => SwarmFacts;
  clock?: Clock;
}

/** An account's credit: what its browsers did, in the week and in all. */
const CREDITS = (since: string) => sql`
  select coalesce(d.shared_with, d.donor) as main,
    sum(w.tokens_helped) filter (where w.day >= ${since}::date) as week, sum(w.tokens_helped) as total
  from donors d join donor_days w on w.donor = d.donor group by 1`;

/** What everybody may know of the swarm: only those have a name here who wanted it. All of it is some seconds old. */
export class SwarmBoard {
  readonly #options: SwarmBoardOptions;
  readonly #clock: Clock;
  readonly #remembered = new Map<string, { atMs: number; value: Promise<unknown> }>();

  constructor(options: SwarmBoardOptions) {
    this.#options = options;
    this.#clock = options.clock ?? systemClock;
  }

  /** Rejects while the database is away. */
  async view(): Promise<SwarmView> {
    const donated = await this.#fresh('swarm', () => this.#donated());
    return { ...this.#options.facts(), ...donated };
  }

  /** A team and its members who want to be seen; undefined if there is none. Rejects while the database is away. */
  team(id: number): Promise<TeamView | undefined> {
    return this.#fresh(`team ${id}`, () => this.#team(id));
  }

  /** An SVG of what a donor did, by its secret name; undefined if there is none. Rejects while the database is away. */
  picture(id: string): Promise<string | undefined> {
    return this.#fresh(`picture ${id}`, () => this.#picture(id));
  }

  /** The same answer for a while, and one question to the database however many ask. */
  #fresh<T>(key: string, make: () => Promise<T>): Promise<T> {
    const nowMs = this.#clock.now();
    const known = this.#remembered.get(key);
    if (known && nowMs - known.atMs < FRESH_MS) return known.value as Promise<T>;
    const value = make();
    this.#remembered.delete(key);
    this.#remembered.set(key, { atMs: nowMs, value });
    value.catch(() => this.#remembered.delete(key));
    if (this.#remembered.size > MAX_REMEMBERED) this.#remembered.delete(this.#remembered.keys().next().value!);
    return value;
  }

  async #donated(): Promise<Donated & { madeMs: number }> {
    const madeMs = Date.now();
    const { database } = this.#options;
    const none = { donors: 0, week: noFigures(), total: noFigures() };
    if (!database) return { madeMs, kept: false, totals: none, contributors: [], teams: [] };
    const since = weekStart(madeMs);
    const [totals, contributors, teams] = await Promise.all([
      this.#totals(database, since),
      sql<SwarmView['contributors'][number]>`
        select p.name, t.name as team, coalesce(c.week, 0) as week, c.total
        from (${CREDITS(since)}) c join donors p on p.donor = c.main left join teams t on t.id = p.team
        where p.listed and p.name is not null order by c.total desc limit ${sql.lit(MAX_LISTED)}`.execute(database.db),
      this.#teams(database, since),
    ]);
    return { madeMs, kept: true, totals, contributors: contributors.rows, teams };
  }

  async #totals({ db }: Database, since: string): Promise<SwarmView['totals']> {
    const sums = (from: string) => sql<Figures>`select ${SUMS} from donor_days where day >= ${from}::date`.execute(db);
    const [donors, week, total] = await Promise.all([
      sql<{ count: number }>`select count(*) as count from donors where shared_with is null`.execute(db),
      sums(since),
      sums('-infinity'),
    ]);
    return { donors: donors.rows[0]!.count, week: week.rows[0]!, total: total.rows[0]! };
  }

  async #teams({ db }: Database, since: string, id?: number): Promise<TeamView[]> {
    const one = id === undefined ? sql`true` : sql`t.id = ${id}`;
    const { rows } = await sql<TeamView>`
      select t.id, t.name, count(p.donor) as members, coalesce(sum(c.week), 0) as week, coalesce(sum(c.total), 0) as total
      from teams t join donors p on p.team = t.id left join (${CREDITS(since)}) c on c.main = p.donor
      where ${one} group by t.id, t.name order by total desc limit ${sql.lit(MAX_LISTED)}`.execute(db);
    return rows;
  }

  async #team(id: number): Promise<TeamView | undefined> {
    const { database } = this.#options;
    if (!database) return undefined;
    const since = weekStart(Date.now());
    const [team] = await this.#teams(database, since, id);
    if (!team) return undefined;
    const { rows } = await sql<{ name: string; week: number; total: number }>`
      select p.name, coalesce(c.week, 0) as week, coalesce(c.total, 0) as total
      from donors p left join (${CREDITS(since)}) c on c.main = p.donor
      where p.team = ${id} and p.listed and p.name is not null
      order by total desc limit ${sql.lit(MAX_LISTED)}`.execute(database.db);
    return { ...team, contributors: rows };
  }

  async #picture(id: string): Promise<string | undefined> {
    const { database, facts } = this.#options;
    if (!database) return undefined;
    const { rows } = await sql<{
      name: string | null;
      team: string | null;
      tokens: number;
      seconds: number;
      week: number;
    }>`
      select p.name, t.name as team, coalesce(sum(w.tokens_helped), 0) as tokens,
        coalesce(sum(w.served_seconds), 0) as seconds,
        coalesce(sum(w.tokens_helped) filter (where w.day >= ${weekStart(Date.now())}::date), 0) as week
      from donors p left join teams t on t.id = p.team
        left join donors d on d.donor = p.donor or d.shared_with = p.donor left join donor_days w on w.donor = d.donor
      where p.picture_id = ${id} group by p.name, t.name`.execute(database.db);
    const [row] = rows;
    return row && pictureOf({ ...row, model: facts().model });
  }
}

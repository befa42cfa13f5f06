import { EventEmitter } from 'node:events';
import { type Kysely, sql, type Transaction } from 'kysely';
import type { Database } from '../database/database.ts';
import type { Tables } from '../database/tables.ts';
import type { Lease, LeaseEvents } from './cluster.ts';
import { Repeat } from './repeat.ts';
import { type ClusterTimes, QUERY_DEADLINE_MS } from './times.ts';
import { within } from './within.ts';

interface Options {
  database: Database;
  /** Of the cluster. */
  key: string;
  /** Of the lease, as in `placement`. */
  name: string;
  /** Member id. */
  self: string;
  times: ClusterTimes;
  /** Tells the others that the lease is free. */
  onReleased: () => void;
}

interface Row {
  holder: string;
  term: number;
  /** Milliseconds until it ends. */
  left: number;
}

/**
 * A lease as a row of the table `leases`: whoever finds it over takes it. Its end is a moment of the database's clock; the holder
 * measures from before it asked, by its own clock, so it never believes to hold what another may have.
 */
export class DatabaseLease implements Lease {
  readonly events = new EventEmitter<LeaseEvents>();
  readonly #options: Options;
  readonly #repeat = new Repeat(() => this.#turn());
  #leader: string | undefined;
  #leaderUntilMs = 0;
  #term = 0;
  #expiry: NodeJS.Timeout | undefined;
  /** Times that another became leader, as this member saw it. */
  changes = 0;

  constructor(options: Options) {
    this.#options = options;
  }

  /** By the clock, and not by a timer alone: a blocked process has late timers. */
  get held(): { term: number } | undefined {
    return this.leader === this.#options.self ? { term: this.#term } : undefined;
  }

  get leader(): string | undefined {
    return performance.now() < this.#leaderUntilMs ? this.#leader : undefined;
  }

  start(): Promise<void> {
    return this.#repeat.now();
  }

  /** Tries to take it, or looks who has it, now. */
  look(): void {
    void this.#repeat.now();
  }

  async close(): Promise<void> {
    await this.#repeat.stop();
    clearTimeout(this.#expiry);
    const { held } = this;
    const { database, key, name, self, onReleased } = this.#options;
    this.#set(undefined, this.#term, 0);
    if (!held || database.isAway) return;
    const freed = database.db
      .updateTable('leases')
      .set({ expires_at: sql<Date>`clock_timestamp()` })
      .where('cluster', '=', key)
      .where('name', '=', name)
      .where('holder', '=', self)
      .where('term', '=', held.term)
      .execute();
    await within(QUERY_DEADLINE_MS, freed).then(onReleased, () => {});
  }

  async #turn(): Promise<number> {
    const { beatMs, leaseMarginMs, jitterMs } = this.#options.times;
    const startMs = performance.now();
    const row = await within(QUERY_DEADLINE_MS, this.#ask()).catch(() => undefined);
    if (row === undefined) return Math.max(0, beatMs - (performance.now() - startMs));
    const isOwn = row.holder === this.#options.self;
    // Another's end is measured from the answer, since it is only known for sure to be over later.
    const fromMs = isOwn ? startMs - leaseMarginMs : performance.now();
    this.#set(row.holder, row.term, fromMs + row.left);
    return isOwn ? beatMs : Math.min(beatMs, Math.max(0, row.left)) + Math.random() * jitterMs;
  }

  async #ask(): Promise<Row> {
    const { database, key, name, self, times } = this.#options;
    const term = this.held?.term ?? 0;
    const { rows } = await sql<Row>`
      with taken as (
        insert into leases (cluster, name, holder, term, expires_at)
        values (${key}, ${name}, ${self}, 1, clock_timestamp() + ${times.leaseMs} * interval '1 ms')
        on conflict (cluster, name) do update set
          holder = excluded.holder,
          term = case when leases.holder = excluded.holder and leases.term = ${term}
            and leases.expires_at > clock_timestamp() then leases.term else leases.term + 1 end,
          expires_at = excluded.expires_at
        where leases.holder = excluded.holder or leases.expires_at <= clock_timestamp()
        returning holder, term, expires_at
      ), known as (
        select holder, term, expires_at from taken
        union all
        select holder, term, expires_at from leases
        where cluster = ${key} and name = ${name} and not exists (select from taken)
      )
      select holder, term, extract(epoch from expires_at - clock_timestamp())::float8 * 1000 as "left" from known`.execute(
      database.db,
    );
    return rows[0]!;
  }

  #set(leader: string | undefined, term: number, untilMs: number): void {
    const before = this.#leader;
    const isSame = before === leader && term === this.#term;
    this.#leaderUntilMs = untilMs;
    clearTimeout(this.#expiry);
    if (leader !== undefined)
      this.#expiry = setTimeout(() => this.#set(undefined, this.#term, 0), untilMs - performance.now() + 1).unref();
    if (isSame) return;
    this.#leader = leader;
    this.#term = term;
    const { self } = this.#options;
    if (before === self) this.events.emit('lost');
    if (leader === self) this.events.emit('gained', term);
    if (leader !== undefined) this.changes++;
    if (before !== leader) this.events.emit('leader', leader);
  }
}

/** A leader's write came after its term: another leads, or may. */
export class StaleTermError extends Error {
  constructor(term: number) {
    super(`Term ${term} is over: another coordinator may lead the placement now`);
    this.name = 'StaleTermError';
  }
}

export interface Term {
  /** Of the cluster. */
  key: string;
  name: string;
  /** Member id. */
  holder: string;
  term: number;
}

/**
 * Runs a leader's writes in a transaction that holds the lease's row. Rejects with a StaleTermError, and writes nothing, once the
 * term is over.
 */
export function writeAsLeader<T>(
  db: Kysely<Tables>,
  { key, name, holder, term }: Term,
  write: (transaction: Transaction<Tables>) => Promise<T>,
): Promise<T> {
  return db.transaction().execute(async (transaction) => {
    const { rows } = await sql`
      select 1 from leases
      where cluster = ${key} and name = ${name} and holder = ${holder} and term = ${term} and expires_at > clock_timestamp()
      for update`.execute(transaction);
    if (rows.length === 0) throw new StaleTermError(term);
    return write(transaction);
  });
}

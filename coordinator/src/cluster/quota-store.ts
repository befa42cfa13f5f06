import { type Kysely, sql } from 'kysely';
import type { Database } from '../database/database.ts';
import type { Tables } from '../database/tables.ts';
import type { LeaseAnswer, LeaseRequest } from './leased-bucket.ts';
import type { QuotaStore } from './shared-quotas.ts';
import { QUERY_DEADLINE_MS } from './times.ts';
import { within } from './within.ts';

/** No limit has a longer period than a day, so that a bucket that nobody asked for longer is full, as one without a row. */
const KEEP = '25 hours';

interface Row {
  name: string;
  granted: number;
  level: number;
}

/** Buckets as rows of the table `quotas`, by the database's clock. */
export class DatabaseQuotas implements QuotaStore {
  readonly #db: Kysely<Tables>;

  constructor({ db }: Pick<Database, 'db'>) {
    this.#db = db;
  }

  async lease(requests: readonly LeaseRequest[]): Promise<ReadonlyMap<string, LeaseAnswer>> {
    if (requests.length === 0) return new Map();
    const rows = await within(QUERY_DEADLINE_MS, this.#lease(requests));
    return new Map(rows.map(({ name, granted, level }) => [name, { granted, level }]));
  }

  /** Deletes buckets that are full again. */
  async tidy(): Promise<void> {
    await sql`delete from quotas where at < now() - ${KEEP}::interval`.execute(this.#db);
  }

  #lease(requests: readonly LeaseRequest[]): Promise<Row[]> {
    const column = <K extends keyof LeaseRequest>(key: K): LeaseRequest[K][] => requests.map((request) => request[key]);
    const asked = sql`
      select * from unnest(${column('name')}::text[], ${column('capacity')}::float8[], ${column('perMs')}::float8[],
        ${column('debt')}::float8[], ${column('want')}::float8[]) as asked (name, capacity, per_ms, debt, want)`;
    return this.#db.transaction().execute(async (transaction) => {
      await sql`
        insert into quotas (name, level, at) select name, capacity, clock_timestamp() from (${asked}) as a order by name
        on conflict (name) do nothing`.execute(transaction);
      // Locked in the order of their names, so that two members never wait for each other.
      const { rows } = await sql<Row>`
        with before as (
          select a.*, least(a.capacity,
            least(a.capacity, q.level + a.per_ms * extract(epoch from clock_timestamp() - q.at)::float8 * 1000) - a.debt
          ) as level
          from quotas q join (${asked}) as a using (name) order by q.name for update of q
        ), granted as (
          select name, level, greatest(0, floor(least(want, level))) as granted from before
        )
        update quotas q set level = g.level - g.granted, at = clock_timestamp() from granted g where q.name = g.name
        returning q.name, g.granted, q.level`.execute(transaction);
      return rows;
    });
  }
}

import { type Kysely, sql } from 'kysely';

/** The leader's orders to homes, in the place of plans as a whole: a home needs its own tabs' part, one step at a time. */
export async function up(db: Kysely<unknown>): Promise<void> {
  for (const statement of STATEMENTS) await sql.raw(statement).execute(db);
}

const STATEMENTS = [
  `create unlogged table tab_orders (
    cluster text not null,
    home text not null,
    peer_id text not null,
    number bigint not null,
    regime bigint not null,
    assigned text not null,
    target text not null,
    primary key (cluster, home, peer_id)
  )`,
  `create index tab_orders_number on tab_orders (cluster, home, number)`,
  `alter table placements drop column plan`,
];

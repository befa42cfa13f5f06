import { type Kysely, sql } from 'kysely';

/** What happened, minute by minute, hour by hour and day by day, and which alerts are open. */
export async function up(db: Kysely<unknown>): Promise<void> {
  for (const statement of STATEMENTS) await sql.raw(statement).execute(db);
}

const SUMS = [
  'span_ms',
  'tokens',
  'stream_ms',
  'queued_ms',
  'tab_ms',
  'expert_ms',
  'covered_ms',
  'laps',
  'bytes',
  'work',
  'fallback',
  'errors',
  'refused',
];
/** First tokens by how long they took: a column for each bucket, since columns can be added to. */
const FIRST_TOKEN_BUCKETS = 19;

const columns = [
  ...SUMS.map((name) => `${name} double precision not null default 0`),
  ...Array.from({ length: FIRST_TOKEN_BUCKETS }, (_, i) => `first_${i} integer not null default 0`),
];

const STATEMENTS = [
  `create table history (
    cluster text not null,
    step_s integer not null,
    at timestamptz not null,
    member text not null,
    ${columns.join(',\n    ')},
    primary key (cluster, step_s, at, member)
  )`,
  `create table alerts (
    cluster text not null,
    key text not null,
    id text not null,
    item jsonb not null,
    told_at timestamptz not null default now(),
    primary key (cluster, key)
  )`,
];

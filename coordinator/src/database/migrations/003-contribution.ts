import { type Kysely, sql } from 'kysely';

/** What donors did in hours, under which name, with which team and browsers, and what they used of it. */
export async function up(db: Kysely<unknown>): Promise<void> {
  for (const statement of STATEMENTS) await sql.raw(statement).execute(db);
}

const STATEMENTS = [
  `alter table donor_days
    add column served_seconds double precision not null default 0,
    add column busy_seconds double precision not null default 0`,
  // A browser that was added to another donor's account is shared with it: name, team and the rest are in that donor's row.
  `alter table donors
    add column shared_with text references donors (donor) on delete set null,
    add column name text,
    add column name_key text unique,
    add column listed boolean not null default false,
    add column picture_id text unique,
    add column credit_token_hash text unique,
    add column spent double precision not null default 0`,
  `create index donors_shared_with on donors (shared_with)`,
  `create index donors_account on donors (coalesce(shared_with, donor))`,
  `create index donors_team on donors (team)`,
  `alter table teams
    add column name_key text unique,
    add column founder text references donors (donor) on delete set null`,
  `create table link_codes (
    donor text primary key references donors (donor) on delete cascade,
    code_hash text not null unique,
    ends_at timestamptz not null
  )`,
];

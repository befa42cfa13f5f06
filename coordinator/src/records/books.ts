import { sql } from 'kysely';
import type { Book, CounterBook, Tables } from '../database/index.ts';

/** How each kind of rows is written. */

export interface EventRow {
  at: Date;
  member: string;
  seq: number;
  level: string;
  kind: string;
  text: string;
  peer_id: string | null;
}

export const EVENTS: Book<EventRow> = {
  what: 'events',
  write: (db, rows) =>
    db
      .insertInto('events')
      .values([...rows])
      .execute(),
};

export interface FindingRow {
  at: Date;
  donor: string;
  what: string;
  used_rows: number;
  unchecked_rows: number;
  until: Date | null;
}

export const FINDINGS: Book<FindingRow> = {
  what: 'findings',
  write: (db, rows) =>
    db
      .insertInto('findings')
      .values([...rows])
      .execute(),
};

export type QuarantineRow = Tables['quarantine'];

/** Of two coordinators' the newer counts, and the quarantine that ends later. */
export const QUARANTINE: Book<QuarantineRow> = {
  what: 'quarantine',
  write: (db, rows) => {
    const newest = new Map(rows.map((row) => [row.key, row]));
    return db
      .insertInto('quarantine')
      .values([...newest.values()])
      .onConflict((conflict) =>
        conflict.column('key').doUpdateSet({
          failures: sql`case when excluded.at >= quarantine.at then excluded.failures else quarantine.failures end`,
          at: sql`greatest(excluded.at, quarantine.at)`,
          until: sql`greatest(excluded.until, quarantine.until)`,
        }),
      )
      .execute();
  },
};

export interface DonorSeen {
  donor: string;
}

/** A donor has been here. */
export const DONORS: Book<DonorSeen> = {
  what: 'donors',
  write: (db, rows) =>
    db
      .insertInto('donors')
      .values([...new Set(rows.map(({ donor }) => donor))].map((donor) => ({ donor })))
      .onConflict((conflict) => conflict.column('donor').doUpdateSet({ last_seen: sql`now()` }))
      .execute(),
};

export interface DonorDay {
  donor: string;
  day: string;
}
export type DonorWork = 'tokens_helped' | 'verified_rows' | 'rows' | 'served_seconds' | 'busy_seconds';

export const DONOR_DAYS: CounterBook<DonorDay, DonorWork> = {
  what: 'donor_days',
  keys: ['donor', 'day'],
  write: (db, rows) =>
    db
      .insertInto('donor_days')
      .values([...rows])
      .onConflict((conflict) =>
        conflict.columns(['donor', 'day']).doUpdateSet((eb) => ({
          tokens_helped: eb('donor_days.tokens_helped', '+', eb.ref('excluded.tokens_helped')),
          verified_rows: eb('donor_days.verified_rows', '+', eb.ref('excluded.verified_rows')),
          rows: eb('donor_days.rows', '+', eb.ref('excluded.rows')),
          served_seconds: eb('donor_days.served_seconds', '+', eb.ref('excluded.served_seconds')),
          busy_seconds: eb('donor_days.busy_seconds', '+', eb.ref('excluded.busy_seconds')),
        })),
      )
      .execute(),
};

export interface UsageKey {
  /** Name of the API key; '' where none is required. */
  key: string;
  day: string;
  model: string;
}
export type UsageCount = 'requests' | 'refusals' | 'prompt_tokens' | 'completion_tokens';

export const USAGE: CounterBook<UsageKey, UsageCount> = {
  what: 'usage',
  keys: ['key', 'day', 'model'],
  write: (db, rows) =>
    db
      .insertInto('usage')
      .values([...rows])
      .onConflict((conflict) =>
        conflict.columns(['key', 'day', 'model']).doUpdateSet((eb) => ({
          requests: eb('usage.requests', '+', eb.ref('excluded.requests')),
          refusals: eb('usage.refusals', '+', eb.ref('excluded.refusals')),
          prompt_tokens: eb('usage.prompt_tokens', '+', eb.ref('excluded.prompt_tokens')),
          completion_tokens: eb('usage.completion_tokens', '+', eb.ref('excluded.completion_tokens')),
        })),
      )
      .execute(),
};

/** The day in UTC of an epoch time, as `YYYY-MM-DD`. */
export const dayOf = (epochMs: number): string => new Date(epochMs).toISOString().slice(0, 10);

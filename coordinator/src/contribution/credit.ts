import { createHash } from 'node:crypto';
import { sql } from 'kysely';
import { setNewest } from '../base/newest.ts';
import type { CounterBook, Database, WriteQueue } from '../database/index.ts';

/** Holders are read again after this time. */
const FRESH_MS = 10_000;
const MAX_REMEMBERED = 1_000;
const TOKEN = /^[\w-]{22,64}$/;

/** What a donor's requests have used of its credit. */
export const SPENT: CounterBook<{ donor: string }, 'spent'> = {
  what: 'spent',
  keys: ['donor'],
  write: async (db, rows) => {
    for (const { donor, spent } of rows)
      await db
        .updateTable('donors')
        .set((eb) => ({ spent: eb('spent', '+', spent) }))
        .where('donor', '=', donor)
        .execute();
  },
};

/** A donor with credit, whose requests go before others'. */
export interface CreditHolder {
  /** Tells its requests from those of other clients. */
  readonly client: string;
  /** Tokens that it may still use. */
  readonly left: number;
  spend(tokens: number): void;
}

/** Finds out whose credit a request uses. With several coordinators, each knows of the others' spending some seconds later. */
export class Credit {
  readonly #database: Database;
  readonly #spend: (key: { donor: string }, more: { spent: number }) => void;
  readonly #known = new Map<string, { atMs: number; holder: Promise<CreditHolder | undefined> }>();

  constructor(database: Database, queue: WriteQueue) {
    this.#database = database;
    this.#spend = queue.countersOf(SPENT);
  }

  /** Of the token in a request; undefined for one that is unknown or has no credit left. Rejects while the database is away. */
  async holder(token: string): Promise<CreditHolder | undefined> {
    if (!TOKEN.test(token)) return undefined;
    const hash = createHash('sha256').update(token).digest('hex');
    const nowMs = performance.now();
    const known = this.#known.get(hash);
    const fresh = known && nowMs - known.atMs < FRESH_MS ? known : { atMs: nowMs, holder: this.#read(hash) };
    if (fresh !== known) setNewest(this.#known, hash, fresh, MAX_REMEMBERED);
    fresh.holder.catch(() => this.#known.delete(hash));
    const holder = await fresh.holder;
    return holder && holder.left > 0 ? holder : undefined;
  }

  async #read(hash: string): Promise<CreditHolder | undefined> {
    const { rows } = await sql<{ donor: string; left: number }>`
      select p.donor, (select coalesce(sum(w.tokens_helped), 0) from donor_days w join donors d on d.donor = w.donor
        where d.donor = p.donor or d.shared_with = p.donor) - p.spent as left
      from donors p where p.credit_token_hash = ${hash}`.execute(this.#database.db);
    const [row] = rows;
    if (!row) return undefined;
    const spend = this.#spend;
    let { left } = row;
    return {
      client: `donor ${row.donor}`,
      get left() {
        return left;
      },
      spend(tokens) {
        // What ends the credit is used up with it, so that nobody owes anything.
        const spent = Math.min(tokens, Math.max(0, left));
        left -= spent;
        if (spent > 0) spend({ donor: row.donor }, { spent });
      },
    };
  }
}

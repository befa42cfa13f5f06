import type { Database, WriteQueue } from '../database/index.ts';
import { dayOf, USAGE, type UsageCount, type UsageKey } from './books.ts';

/** What one or several requests have used. */
export interface Used {
  /** Name of the API key; '' where none is required. */
  key: string;
  model: string;
  requests?: number;
  /** Requests that were refused: limits, a full queue. */
  refusals?: number;
  promptTokens?: number;
  completionTokens?: number;
}

export interface UsageOfDay extends Required<Used> {
  /** In UTC, as `YYYY-MM-DD`. */
  day: string;
}

export interface UsageQuery {
  /** First and last day, as `YYYY-MM-DD`. */
  from: string;
  to: string;
  key?: string;
}

/** More are not read at a time: a year of 25 keys and 10 models. */
export const MAX_USAGE_ROWS = 100_000;

/** Who has used how much, by key, day and model. */
export class UsageRecords {
  readonly #database: Database;
  readonly #queue: WriteQueue;
  readonly #add: (key: UsageKey, more: Readonly<Partial<Record<UsageCount, number>>>) => void;

  constructor(database: Database, queue: WriteQueue) {
    this.#database = database;
    this.#queue = queue;
    this.#add = queue.countersOf(USAGE);
  }

  /** Adds to today's. Never waits. */
  add({ key, model, requests = 0, refusals = 0, promptTokens = 0, completionTokens = 0 }: Used): void {
    const counts = { requests, refusals, prompt_tokens: promptTokens, completion_tokens: completionTokens };
    this.#add({ key, day: dayOf(Date.now()), model }, counts);
  }

  /** By day, key and model. What was added until now is in it. Rejects while the database is away. */
  async read({ from, to, key }: UsageQuery): Promise<UsageOfDay[]> {
    await this.#queue.flush();
    let query = this.#database.db.selectFrom('usage').selectAll().where('day', '>=', from).where('day', '<=', to);
    if (key !== undefined) query = query.where('key', '=', key);
    const rows = await query.orderBy('day').orderBy('key').orderBy('model').limit(MAX_USAGE_ROWS).execute();
    return rows.map(({ prompt_tokens: promptTokens, completion_tokens: completionTokens, ...row }) => ({
      ...row,
      promptTokens,
      completionTokens,
    }));
  }
}

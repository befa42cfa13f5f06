import type { WriteQueue } from '../database/index.ts';
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

/** Writes who has used how much, by key, day and model; `usageReport` reads it. */
export class UsageRecords {
  readonly #add: (key: UsageKey, more: Readonly<Partial<Record<UsageCount, number>>>) => void;

  constructor(queue: WriteQueue) {
    this.#add = queue.countersOf(USAGE);
  }

  /** Adds to today's. Never waits. */
  add({ key, model, requests = 0, refusals = 0, promptTokens = 0, completionTokens = 0 }: Used): void {
    const counts = { requests, refusals, prompt_tokens: promptTokens, completion_tokens: completionTokens };
    this.#add({ key, day: dayOf(Date.now()), model }, counts);
  }
}

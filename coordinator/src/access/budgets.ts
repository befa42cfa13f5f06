import { type Clock, TokenBucket } from '../base/token-bucket.ts';
import type { ApiKey } from './policy.ts';

const MINUTE_MS = 60_000;
const DAY_MS = 86_400_000;

/** What a key may have of something in a time. */
export interface Budget {
  readonly capacity: number;
  /** What is left; negative after debits that it did not cover. */
  readonly level: number;
  /** Takes `cost` even if the level goes below zero. */
  debit(cost: number): void;
  /** Milliseconds until `cost` is there, 0 if it is; a cost above the capacity needs all of it. */
  msUntil(cost: number): number;
  readonly msUntilFull: number;
}

/** A budget of each day in UTC. */
export class DayBudget implements Budget {
  readonly capacity: number;
  readonly #dateMs: Clock;
  #day: number;
  #used: number;

  /** `used`: what the day's budget was used for before. */
  constructor(capacity: number, dateMs: Clock = Date.now, used = 0) {
    this.capacity = capacity;
    this.#dateMs = dateMs;
    this.#day = Math.floor(dateMs() / DAY_MS);
    this.#used = used;
  }

  get used(): number {
    const day = Math.floor(this.#dateMs() / DAY_MS);
    if (day !== this.#day) this.#used = 0;
    this.#day = day;
    return this.#used;
  }

  get level(): number {
    return this.capacity - this.used;
  }

  debit(cost: number): void {
    this.#used = this.used + cost;
  }

  /** So much was used today over all coordinators, as far as it is written. */
  usedAtLeast(used: number): void {
    this.#used = Math.max(this.used, used);
  }

  msUntil(cost: number): number {
    return Math.min(cost, this.capacity) <= this.level ? 0 : DAY_MS - (this.#dateMs() % DAY_MS);
  }

  get msUntilFull(): number {
    return this.msUntil(this.capacity);
  }
}

export const BUDGETS = ['requestsPerMinute', 'tokensPerMinute', 'tokensPerDay'] as const;
export type BudgetName = (typeof BUDGETS)[number];

/** Makes a budget of a key that has such a limit. `before`: what was in its place when the key had another limit. */
export type MakeBudget = (name: BudgetName, key: ApiKey, before: Budget | undefined) => Budget;

/** The budgets of one coordinator alone. */
export function ownBudgets(clocks: { clock?: Clock | undefined; dateMs?: Clock | undefined } = {}): MakeBudget {
  return (name, key, before) => {
    if (name !== 'tokensPerDay') return new TokenBucket(key[name]!, MINUTE_MS, clocks.clock);
    return new DayBudget(key[name]!, clocks.dateMs, before instanceof DayBudget ? before.used : 0);
  };
}

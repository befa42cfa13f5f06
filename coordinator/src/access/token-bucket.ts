export type Clock = () => number;

/** Milliseconds that never go back, whatever happens to the machine's date. */
const monotonicMs: Clock = () => performance.now();

/** `capacity` at once, and as much again in every `periodMs`, as a steady flow. */
export class TokenBucket {
  readonly capacity: number;
  readonly #perMs: number;
  readonly #clock: Clock;
  #level: number;
  #atMs: number;

  constructor(capacity: number, periodMs: number, clock: Clock = monotonicMs) {
    this.capacity = capacity;
    this.#perMs = capacity / periodMs;
    this.#clock = clock;
    this.#level = capacity;
    this.#atMs = clock();
  }

  /** What is in it now; below zero after a debit that it did not cover. */
  get level(): number {
    const nowMs = this.#clock();
    this.#level = Math.min(this.capacity, this.#level + (nowMs - this.#atMs) * this.#perMs);
    this.#atMs = nowMs;
    return this.#level;
  }

  /** Takes `cost` and returns 0, or takes nothing and returns the milliseconds until it would. What exceeds the capacity needs a full bucket. */
  take(cost = 1): number {
    const waitMs = this.msUntil(cost);
    if (waitMs === 0) this.debit(cost);
    return waitMs;
  }

  /** Takes `cost` whether it is there or not: later takers wait for the debt too. */
  debit(cost: number): void {
    this.#level = this.level - cost;
  }

  /** Milliseconds until `take(cost)` would succeed; 0 now. */
  msUntil(cost: number): number {
    const missing = Math.min(cost, this.capacity) - this.level;
    // A hair's breadth of rounding is no reason to wait.
    return missing <= 1e-9 * this.capacity ? 0 : missing / this.#perMs;
  }

  get msUntilFull(): number {
    return this.msUntil(this.capacity);
  }
}

/** Addresses with a bucket at a time, about 10 MB; beyond it the one that has been idle longest starts anew. */
const MAX_KEYS = 50_000;

/** One bucket for each address (or other key), made when it is first asked for. */
export class KeyedBuckets {
  readonly #periodMs: number;
  readonly #clock: Clock;
  readonly #maxKeys: number;
  readonly #buckets = new Map<string, TokenBucket>();
  #capacity: number;

  constructor(capacity: number, periodMs: number, { clock = monotonicMs, maxKeys = MAX_KEYS } = {}) {
    this.#capacity = capacity;
    this.#periodMs = periodMs;
    this.#clock = clock;
    this.#maxKeys = maxKeys;
  }

  /** Another limit holds for everybody from now on, with full buckets; the same one changes nothing. */
  setCapacity(capacity: number): void {
    if (capacity === this.#capacity) return;
    this.#capacity = capacity;
    this.#buckets.clear();
  }

  of(key: string): TokenBucket {
    const bucket = this.#buckets.get(key) ?? new TokenBucket(this.#capacity, this.#periodMs, this.#clock);
    this.#buckets.delete(key);
    this.#buckets.set(key, bucket);
    if (this.#buckets.size > this.#maxKeys) {
      const [oldest] = this.#buckets.keys();
      this.#buckets.delete(oldest!);
    }
    return bucket;
  }
}

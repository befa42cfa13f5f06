import { networksOf } from './address.ts';
import type { Bucket, NewBucket } from './bucket.ts';
import { setNewest } from './newest.ts';

export type Clock = () => number;

const monotonicMs: Clock = () => performance.now();

/** A token bucket: holds up to `capacity`, and refills by as much every `periodMs` at a steady rate. */
export class TokenBucket implements Bucket {
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

  get level(): number {
    const nowMs = this.#clock();
    this.#level = Math.min(this.capacity, this.#level + (nowMs - this.#atMs) * this.#perMs);
    this.#atMs = nowMs;
    return this.#level;
  }

  take(cost = 1): number {
    const waitMs = this.msUntil(cost);
    if (waitMs === 0) this.debit(cost);
    return waitMs;
  }

  debit(cost: number): void {
    this.#level = this.level - cost;
  }

  msUntil(cost: number): number {
    const missing = Math.min(cost, this.capacity) - this.level;
    // Tolerates rounding errors.
    return missing <= 1e-9 * this.capacity ? 0 : missing / this.#perMs;
  }

  get msUntilFull(): number {
    return this.msUntil(this.capacity);
  }
}

/** Buckets kept, about 10 MB. Beyond this, the key that has been idle longest starts anew. */
const MAX_KEYS = 50_000;

export interface KeyedBucketsOptions {
  clock?: Clock | undefined;
  /** Makes the bucket of a key, in the place of one of this process alone. */
  newBucket?: NewBucket | undefined;
  maxKeys?: number;
}

/** One bucket per address or other key, created on first use. */
export class KeyedBuckets {
  readonly #periodMs: number;
  readonly #newBucket: NewBucket;
  readonly #maxKeys: number;
  readonly #buckets = new Map<string, Bucket>();
  #capacity: number;

  constructor(capacity: number, periodMs: number, { clock, newBucket, maxKeys = MAX_KEYS }: KeyedBucketsOptions = {}) {
    this.#capacity = capacity;
    this.#periodMs = periodMs;
    this.#newBucket = newBucket ?? ((...[, most, perMs]) => new TokenBucket(most, perMs, clock));
    this.#maxKeys = maxKeys;
  }

  /** A new capacity starts every key with a full bucket; the same one changes nothing. */
  setCapacity(capacity: number): void {
    if (capacity === this.#capacity) return;
    this.#capacity = capacity;
    this.#buckets.clear();
  }

  of(key: string): Bucket {
    const bucket = this.#buckets.get(key) ?? this.#newBucket(key, this.#capacity, this.#periodMs);
    return setNewest(this.#buckets, key, bucket, this.#maxKeys);
  }
}

/** Buckets of an address and of the wider networks that it belongs to: whatever is taken is taken from all of them. */
export class NetworkBuckets {
  readonly #periodMs: number;
  readonly #options: KeyedBucketsOptions;
  /** By the share of the networks. */
  readonly #levels = new Map<number, KeyedBuckets>();
  #capacity: number;

  constructor(capacity: number, periodMs: number, options: KeyedBucketsOptions = {}) {
    this.#capacity = capacity;
    this.#periodMs = periodMs;
    this.#options = options;
  }

  /** A new capacity starts every network with full buckets; the same one changes nothing. */
  setCapacity(capacity: number): void {
    this.#capacity = capacity;
    for (const [share, buckets] of this.#levels) buckets.setCapacity(capacity * share);
  }

  /** Takes `cost` and returns 0, or takes nothing and returns the milliseconds to wait. */
  take(address: string, cost = 1): number {
    const buckets = networksOf(address).map(({ key, share }) => this.#level(share).of(key));
    const waitMs = Math.max(...buckets.map((bucket) => bucket.msUntil(cost)));
    if (waitMs === 0) for (const bucket of buckets) bucket.debit(cost);
    return waitMs;
  }

  #level(share: number): KeyedBuckets {
    let level = this.#levels.get(share);
    if (level === undefined) {
      level = new KeyedBuckets(this.#capacity * share, this.#periodMs, this.#options);
      this.#levels.set(share, level);
    }
    return level;
  }
}

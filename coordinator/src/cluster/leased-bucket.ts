import type { Bucket } from '../base/bucket.ts';
import { type Clock, TokenBucket } from '../base/token-bucket.ts';

/** A bucket that is in use looks again after so long, so that what it says of its level is true. */
const REFRESH_MS = 2_000;
/** What is leased and not used for so long is given back. */
const IDLE_MS = 15_000;
/** Until a retry, where the answer to a question to the database decides. */
const ROUND_TRIP_MS = 100;
/** Of a limit, all members hold as much in slices. */
const HELD_SHARE = 1 / 4;

/** One question to the database about a bucket that members share. */
export interface LeaseRequest {
  name: string;
  capacity: number;
  /** Refill. */
  perMs: number;
  /** Spent beyond what was leased; negative to give something back. */
  debt: number;
  /** To be leased, if the bucket has it. */
  want: number;
}

export interface LeaseAnswer {
  granted: number;
  /** What the bucket has after that. */
  level: number;
}

export interface LeaseWorld {
  clock: Clock;
  /** Alive, or while cut from the database those last seen alive. */
  members(): number;
  isCut(): boolean;
  /** Has `request` and `answered` called soon, if the database answers. */
  ask(bucket: LeasedBucket): void;
}

/**
 * A token bucket in the database, of which this member leases a slice ahead, so that nobody waits for the database. What a member
 * may be off by: the slice that it holds, and what it spends beyond while the answer to its next question is on its way, which is
 * another slice or one request, whichever is more.
 */
export class LeasedBucket implements Bucket {
  readonly name: string;
  readonly capacity: number;
  readonly #periodMs: number;
  readonly #perMs: number;
  readonly #world: LeaseWorld;
  /** Leased and not spent; negative if more was spent. */
  #held = 0;
  /** What the bucket had by the last answer, and has gained since; full before the first. */
  #shared: TokenBucket;
  /** While cut: this member's share of the limit, and what was spent of it, which is told afterwards. */
  #ownShare: TokenBucket | undefined;
  #owed = 0;
  #asked: LeaseRequest | undefined;
  #answeredMs = Number.NEGATIVE_INFINITY;
  #usedMs = Number.NEGATIVE_INFINITY;

  constructor(name: string, capacity: number, periodMs: number, world: LeaseWorld) {
    this.name = name;
    this.capacity = capacity;
    this.#periodMs = periodMs;
    this.#perMs = capacity / periodMs;
    this.#world = world;
    this.#shared = new TokenBucket(capacity, periodMs, world.clock);
  }

  get #slice(): number {
    return Math.max(1, (this.capacity * HELD_SHARE) / this.#world.members());
  }

  get level(): number {
    return Math.min(this.capacity, this.#held + this.#beyond.level);
  }

  get msUntilFull(): number {
    return Math.max(0, this.capacity - this.level) / this.#perMs;
  }

  take(cost = 1): number {
    const waitMs = this.msUntil(cost);
    if (waitMs === 0) this.debit(cost);
    return waitMs;
  }

  debit(cost: number): void {
    this.#usedMs = this.#world.clock();
    this.#held -= cost;
    if (this.#world.isCut()) return this.#spendOwnShare();
    const isOld = this.#usedMs - this.#answeredMs > REFRESH_MS;
    if (this.#held < this.#slice / 2 || isOld) this.#ask();
  }

  msUntil(cost: number): number {
    const missing = Math.min(cost, this.capacity) - this.#held;
    // Tolerates rounding errors.
    if (missing <= 1e-9 * this.capacity) return 0;
    const beyond = this.#beyond;
    const waitMs = Math.max(0, missing - beyond.level) / (beyond.capacity / this.#periodMs);
    if (waitMs > 0) {
      this.#ask();
      return waitMs;
    }
    // Alone it knows what the bucket has. Otherwise others may be spending the same.
    const mayOverdraw = this.#world.isCut() || this.#world.members() === 1 || this.#held >= 0 || missing <= this.#slice;
    return mayOverdraw ? 0 : ROUND_TRIP_MS;
  }

  /** What to ask the database; undefined if an answer is on its way. */
  request(): LeaseRequest | undefined {
    if (this.#asked) return undefined;
    this.#held -= Math.min(this.#owed, this.capacity);
    this.#owed = 0;
    const { isIdle } = this;
    const want = isIdle ? 0 : Math.max(0, this.#slice - Math.max(0, this.#held));
    const debt = isIdle ? -this.#held : Math.max(0, -this.#held);
    const { name, capacity } = this;
    this.#asked = { name, capacity, perMs: this.#perMs, debt: Math.min(debt, capacity), want };
    return this.#asked;
  }

  /** Undefined if the database did not answer. */
  answered(answer: LeaseAnswer | undefined): void {
    const asked = this.#asked;
    this.#asked = undefined;
    if (!answer || !asked) return;
    this.#held += asked.debt + answer.granted;
    this.#ownShare = undefined;
    this.#answeredMs = this.#world.clock();
    this.#shared = new TokenBucket(this.capacity, this.#periodMs, this.#world.clock);
    this.#shared.debit(this.capacity - answer.level);
    if (this.#held < 0) this.#ask();
  }

  #spendOwnShare(): void {
    if (this.#held >= 0) return;
    this.#beyond.debit(-this.#held);
    this.#owed -= this.#held;
    this.#held = 0;
  }

  /** Not used for so long that what it holds is given back. */
  get isIdle(): boolean {
    return this.#world.clock() - this.#usedMs > IDLE_MS;
  }

  get holds(): boolean {
    return this.#held !== 0;
  }

  #ask(): void {
    if (!this.#asked && !this.#world.isCut()) this.#world.ask(this);
  }

  /** What there is beyond the slice: in the database, or while cut from it in this member's share of the limit. */
  get #beyond(): TokenBucket {
    if (!this.#world.isCut()) return this.#shared;
    if (!this.#ownShare) {
      const members = this.#world.members();
      this.#ownShare = new TokenBucket(this.capacity / members, this.#periodMs, this.#world.clock);
      this.#ownShare.debit(Math.max(0, this.capacity - this.#shared.level) / members);
    }
    return this.#ownShare;
  }
}

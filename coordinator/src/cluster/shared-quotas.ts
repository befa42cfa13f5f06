import type { Bucket } from '../base/bucket.ts';
import { type Clock, systemClock } from '../base/clock.ts';
import type { Cluster } from './cluster.ts';
import { LeasedBucket, type LeaseAnswer, type LeaseRequest, type LeaseWorld } from './leased-bucket.ts';

/** How often buckets that nobody uses any more are looked for. */
const SWEEP_MS = 5_000;
/** Buckets in one statement, and those that wait for the next. */
const MAX_ASKED = 500;
const MAX_WAITING = 20_000;

/** Where the shared buckets are. */
export interface QuotaStore {
  /** Answers by name. Rejects if the database does not answer. */
  lease(requests: readonly LeaseRequest[]): Promise<ReadonlyMap<string, LeaseAnswer>>;
}

/** The limits over time that all members have together. Nobody waits for the database: questions go to it in the background. */
export class SharedQuotas {
  readonly #members: Cluster['members'];
  readonly #store: QuotaStore;
  readonly #world: LeaseWorld;
  readonly #clock: Clock;
  /** Buckets that hold something. */
  readonly #inUse = new Set<LeasedBucket>();
  #waiting = new Set<LeasedBucket>();
  #asking: Promise<void> | undefined;
  readonly #sweep: ReturnType<Clock['setInterval']>;

  constructor(members: Cluster['members'], store: QuotaStore, clock: Clock = systemClock) {
    this.#members = members;
    this.#store = store;
    this.#clock = clock;
    this.#world = {
      clock: () => clock.now(),
      members: () => members.alive().length,
      isCut: () => members.isCut,
      ask: (bucket) => this.#ask(bucket),
    };
    this.#sweep = clock.setInterval(() => this.#giveBack(), SWEEP_MS);
    this.#sweep.unref();
  }

  readonly bucket = (name: string, capacity: number, periodMs: number): Bucket =>
    // With another limit it is another bucket, as in a coordinator alone.
    new LeasedBucket(`${name} ${capacity}`, capacity, periodMs, this.#world);

  /** Gives back what it holds. */
  async close(): Promise<void> {
    this.#clock.clear(this.#sweep);
    await this.#asking;
  }

  #ask(bucket: LeasedBucket): void {
    if (this.#waiting.size >= MAX_WAITING) return;
    this.#waiting.add(bucket);
    this.#asking ??= this.#askAll();
  }

  async #askAll(): Promise<void> {
    // Those of the same turn of the event loop go together.
    await new Promise<void>((resolve) => this.#clock.setImmediate(resolve));
    while (this.#waiting.size > 0) {
      const buckets = [...this.#waiting].slice(0, MAX_ASKED);
      for (const bucket of buckets) this.#waiting.delete(bucket);
      await this.#askFor(buckets);
      if (this.#members.isCut) this.#waiting = new Set();
    }
    this.#asking = undefined;
  }

  async #askFor(buckets: readonly LeasedBucket[]): Promise<void> {
    const requests = buckets.map((bucket) => bucket.request());
    const asked = requests.filter((request) => request !== undefined);
    const answers = await this.#store.lease(asked).catch(() => undefined);
    for (const [i, bucket] of buckets.entries()) {
      if (!requests[i]) continue;
      bucket.answered(answers?.get(bucket.name));
      if (bucket.holds) this.#inUse.add(bucket);
      else this.#inUse.delete(bucket);
    }
  }

  #giveBack(): void {
    if (this.#members.isCut) return;
    for (const bucket of this.#inUse) if (bucket.isIdle) this.#ask(bucket);
  }
}

/** What a limit over time is taken from: holds up to `capacity`, and refills by as much every period at a steady rate. */
export interface Bucket {
  readonly capacity: number;
  /** Negative after a debit that it did not cover. */
  readonly level: number;
  /** Takes `cost` and returns 0, or takes nothing and returns the milliseconds to wait. A cost above the capacity needs a full bucket. */
  take(cost?: number): number;
  /** Takes `cost` even if the level goes below zero; later takers wait for the debt too. */
  debit(cost: number): void;
  /** Milliseconds until `take(cost)` would succeed; 0 if it would now. */
  msUntil(cost: number): number;
  readonly msUntilFull: number;
}

/** Makes the bucket of this name, which coordinators that share a database may have together. */
export type NewBucket = (name: string, capacity: number, periodMs: number) => Bucket;

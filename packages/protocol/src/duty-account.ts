/** Time whose unused share is kept: what a tab may compute in a row after it has had nothing to do. */
export const DUTY_WINDOW_MS = 2_000;

/**
 * What a share of the time means, for the tab that keeps it and for the coordinator that gives it work. A token bucket of computing
 * time: it fills by `share` of each millisecond, up to that of DUTY_WINDOW_MS, and whoever begins work with something in it may
 * finish it. So the time computed in any t ms is at most `share` × (t + DUTY_WINDOW_MS) and one piece of work.
 */
export class DutyAccount {
  readonly #now: () => number;
  #share = 1;
  #balanceMs = DUTY_WINDOW_MS;
  #atMs: number;

  /** @param now a monotonic clock, in milliseconds */
  constructor(now: () => number) {
    this.#now = now;
    this.#atMs = now();
  }

  get share(): number {
    return this.#share;
  }

  /** From 0 (exclusive) to 1. What was overdrawn before is not forgotten. */
  set share(share: number) {
    this.#accrue();
    this.#share = share;
    this.#balanceMs = Math.min(this.#balanceMs, share * DUTY_WINDOW_MS);
  }

  /** Time was spent on computing, until now. */
  spend(computeMs: number): void {
    this.#accrue();
    this.#balanceMs -= computeMs;
  }

  /** How long to rest before the next piece of work; 0: it may begin. `committedMs`: work that is about to be spent as well. */
  restMs(committedMs = 0): number {
    if (this.#share >= 1) return 0;
    this.#accrue();
    const leftMs = this.#balanceMs - committedMs;
    return leftMs > 0 ? 0 : (EARNED_MS - leftMs) / this.#share;
  }

  #accrue(): void {
    const nowMs = this.#now();
    const earnedMs = Math.max(0, nowMs - this.#atMs) * this.#share;
    this.#atMs = nowMs;
    // What is spent is never more than what passed if the share is 1, so that a debt is from times with a smaller one.
    this.#balanceMs = Math.min(this.#share * DUTY_WINDOW_MS, this.#balanceMs + earnedMs);
  }
}

/** The least that a piece of work begins with, so that a timer that fires in time finds more than nothing. */
const EARNED_MS = 0.01;

import type { PassCosts, PassTimes } from './pass-costs.ts';

/** Passes before the first choice, and between one change and the next. */
const MIN_PASSES = 16;
/** Passes to ignore after a switch: they began before it. */
const UNCLEAR_PASSES = 2;
/** Waits that were measured this many passes ago are forgotten. */
const FORGET_AFTER = 1024;
/** Below this share of waiting there is nothing to gain by splitting; once split, below the second one. */
const ENTER_WAIT_SHARE = 0.25;
const LEAVE_WAIT_SHARE = 0.15;
/** Two micro-batches that have been measured must be faster by this factor to be entered again. */
const ENTER_FACTOR = 0.97;
/** Two micro-batches stay while they are slower than one by no more than this factor. */
const LEAVE_FACTOR = 1.02;

/**
 * Decides whether one micro-batch or two are in flight. A pass of n rows takes the dense engine E(n) = a + b·n, where `a` is
 * mostly the reading of weights, which both micro-batches pay; its waits for experts take W. All rows are through after
 * E(n) + W with one, and after max(E(n/2) + W', 2·E(n/2)) with two that overlap. With long round trips W' = W, and splitting
 * costs nothing where W > a. Slow tabs and local experts make the two wait for each other: W' shows that once it is tried.
 */
export class MicroBatchCount {
  readonly #costs: PassCosts;
  #sinceChange = 0;
  #count: 1 | 2 = 1;

  constructor(costs: PassCosts) {
    this.#costs = costs;
  }

  /** Takes note of a pass that has ended. */
  add(pass: PassTimes): void {
    this.#sinceChange++;
    if (this.#sinceChange > UNCLEAR_PASSES) this.#costs.addWait(this.#count, pass);
    if (this.#sinceChange === FORGET_AFTER) this.#costs.forgetWaits(this.#count === 1 ? 2 : 1);
  }

  /** The number of micro-batches to have in flight for `rows` rows in all. */
  choose(rows: number): 1 | 2 {
    if (rows < 2) return 1;
    if (this.#sinceChange < MIN_PASSES) return this.#count;
    const count = this.#isFasterSplit(rows) ? 2 : 1;
    if (count !== this.#count) {
      this.#sinceChange = 0;
      this.#costs.forgetWaits(count);
    }
    return (this.#count = count);
  }

  #isFasterSplit(rows: number): boolean {
    const costs = this.#costs;
    const isSplit = this.#count === 2;
    const measuredHalfMs = costs.waitMs(rows / 2, 2);
    const halfWaitMs = measuredHalfMs ?? costs.waitMs(rows, 1) ?? 0;
    // The wait of a whole may be out of date while split, but it is never longer than that of two halves.
    const wholeWaitMs = Math.min(
      costs.waitMs(rows, 1) ?? halfWaitMs,
      isSplit ? 2 * halfWaitMs : Number.POSITIVE_INFINITY,
    );
    const wholeMs = costs.engineMs(rows) + wholeWaitMs;
    const halfMs = costs.engineMs(rows / 2);
    const waitShare = isSplit ? halfWaitMs / (halfMs + halfWaitMs) : wholeWaitMs / wholeMs;
    if (waitShare < (isSplit ? LEAVE_WAIT_SHARE : ENTER_WAIT_SHARE)) return false;
    const splitMs = Math.max(halfMs + halfWaitMs, 2 * halfMs);
    return splitMs <= wholeMs * (isSplit ? LEAVE_FACTOR : measuredHalfMs === undefined ? 1 : ENTER_FACTOR);
  }
}

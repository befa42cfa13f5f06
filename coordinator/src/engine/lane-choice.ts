import type { PassTimes } from './pass-times.ts';

/** A pass weighs this much of the one after it: some fifty tell the figures. */
const DECAY = 0.98;
/** Passes before the first choice, and between one change and the next. */
const LEAST_PASSES = 16;
/** Below so large a share of waiting there is nothing to win; once split, below so large a one. */
const ENTER_WAIT_SHARE = 0.25;
const LEAVE_WAIT_SHARE = 0.15;
/** What was split stays so while it is not predicted to be slower than whole by more than this. */
const LEAVE_FACTOR = 1.05;

/**
 * Whether two half-batches are faster than one whole, from what passes cost. A pass of n rows takes the engine E(n) = a + b·n,
 * fitted to the passes seen, where `a` is mostly the reading of weights, which every half pays; its laps take W. All rows are
 * through after E(n) + W in one pass, and after max(E(n/2) + W, 2·E(n/2)) in two that overlap. So splitting costs nothing where
 * W > a, and wins at most min(b·n/2, W − a).
 */
export class LaneChoice {
  /** Decayed sums over passes: 1, rows, rows², engineMs, rows × engineMs, waitedMs. */
  #weight = 0;
  #rows = 0;
  #rowsSquared = 0;
  #engineMs = 0;
  #rowsEngineMs = 0;
  #waitedMs = 0;
  #sinceChange = 0;
  #lanes: 1 | 2 = 1;

  add({ rows, engineMs, waitedMs }: Pick<PassTimes, 'rows' | 'engineMs' | 'waitedMs'>): void {
    this.#weight = this.#weight * DECAY + 1;
    this.#rows = this.#rows * DECAY + rows;
    this.#rowsSquared = this.#rowsSquared * DECAY + rows * rows;
    this.#engineMs = this.#engineMs * DECAY + engineMs;
    this.#rowsEngineMs = this.#rowsEngineMs * DECAY + rows * engineMs;
    this.#waitedMs = this.#waitedMs * DECAY + waitedMs;
    this.#sinceChange++;
  }

  /** For so many rows in all. */
  lanes(rows: number): 1 | 2 {
    if (rows < 2) return 1;
    if (this.#sinceChange < LEAST_PASSES) return this.#lanes;
    const lanes = this.#isBetterSplit(rows) ? 2 : 1;
    if (lanes !== this.#lanes) this.#sinceChange = 0;
    return (this.#lanes = lanes);
  }

  /** Fitted: milliseconds that any pass takes the engine, and each row of it. */
  get cost(): { passMs: number; rowMs: number } {
    const meanMs = this.#engineMs / this.#weight;
    const meanRows = this.#rows / this.#weight;
    const variance = this.#rowsSquared / this.#weight - meanRows ** 2;
    // Of passes that are all alike nothing is known but their time: rows are then taken to be free, which speaks against splitting.
    if (variance < (0.1 * meanRows) ** 2) return { passMs: meanMs, rowMs: 0 };
    const slope = (this.#rowsEngineMs / this.#weight - meanRows * meanMs) / variance;
    const rowMs = Math.min(Math.max(0, slope), meanMs / meanRows);
    return { passMs: meanMs - rowMs * meanRows, rowMs };
  }

  #isBetterSplit(rows: number): boolean {
    const isSplit = this.#lanes === 2;
    const { passMs, rowMs } = this.cost;
    const waitMs = this.#waitedMs / this.#weight;
    const wholeMs = passMs + rowMs * rows + waitMs;
    const halfMs = passMs + (rowMs * rows) / 2;
    const splitMs = Math.max(halfMs + waitMs, 2 * halfMs);
    if (waitMs < (isSplit ? LEAVE_WAIT_SHARE : ENTER_WAIT_SHARE) * wholeMs) return false;
    return splitMs <= wholeMs * (isSplit ? LEAVE_FACTOR : 1);
  }
}

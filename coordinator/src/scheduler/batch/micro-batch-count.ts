import { LineFit } from './line-fit.ts';
import type { PassTimes } from './pass-times.ts';

/** Passes before the first choice, and between one change and the next. */
const LEAST_PASSES = 16;
/** Of a pass, until those that began before a change have ended. */
const UNCLEAR_PASSES = 2;
/** Waits that were measured so many passes ago are no longer believed. */
const FORGET_AFTER = 1024;
/** Below so large a share of waiting there is nothing to win; once split, below so large a one. */
const ENTER_WAIT_SHARE = 0.25;
const LEAVE_WAIT_SHARE = 0.15;
/** Split by what was measured in halves, and not by what is hoped of them, only where they are faster by so much. */
const ENTER_FACTOR = 0.97;
/** What was split stays so while it is not slower than whole by more than this. */
const LEAVE_FACTOR = 1.02;

/**
 * Whether two half-batches are faster than one whole, from what passes cost. A pass of n rows takes the engine E(n) = a + b·n,
 * where `a` is mostly the reading of weights, which every half pays; its waits for experts take W. All rows are through after
 * E(n) + W in one pass, and after max(E(n/2) + W', 2·E(n/2)) in two that overlap. Laps of a long round trip take as long for
 * halves (W' = W), so that splitting costs nothing where W > a. Slow tabs, or the coordinator's own experts, make the halves
 * wait for each other: what W' is shows when it is tried, and is remembered for a while.
 */
export class MicroBatchCount {
  readonly #engine = new LineFit();
  readonly #waits = { 1: new LineFit(), 2: new LineFit() };
  #sinceChange = 0;
  #microBatches: 1 | 2 = 1;

  add({ rows, engineMs, waitedMs }: Pick<PassTimes, 'rows' | 'engineMs' | 'waitedMs'>): void {
    this.#engine.add(rows, engineMs);
    this.#sinceChange++;
    if (this.#sinceChange > UNCLEAR_PASSES) this.#waits[this.#microBatches].add(rows, waitedMs);
    if (this.#sinceChange === FORGET_AFTER) this.#waits[this.#microBatches === 1 ? 2 : 1].clear();
  }

  /** For so many rows in all. */
  microBatches(rows: number): 1 | 2 {
    if (rows < 2) return 1;
    if (this.#sinceChange < LEAST_PASSES) return this.#microBatches;
    const microBatches = this.#isBetterSplit(rows) ? 2 : 1;
    if (microBatches !== this.#microBatches) {
      this.#sinceChange = 0;
      this.#waits[microBatches].clear();
    }
    return (this.#microBatches = microBatches);
  }

  #isBetterSplit(rows: number): boolean {
    const isSplit = this.#microBatches === 2;
    const isTried = !this.#waits[2].isEmpty;
    const { wholeWaitMs, halfWaitMs } = this.#expectedWaits(rows);
    const wholeMs = this.#engine.at(rows) + wholeWaitMs;
    const halfMs = this.#engine.at(rows / 2);
    const waitShare = isSplit ? halfWaitMs / (halfMs + halfWaitMs) : wholeWaitMs / wholeMs;
    if (waitShare < (isSplit ? LEAVE_WAIT_SHARE : ENTER_WAIT_SHARE)) return false;
    const splitMs = Math.max(halfMs + halfWaitMs, 2 * halfMs);
    return splitMs <= wholeMs * (isSplit ? LEAVE_FACTOR : isTried ? ENTER_FACTOR : 1);
  }

  /** As measured; what is not known is taken to be as the other. */
  #expectedWaits(rows: number): { wholeWaitMs: number; halfWaitMs: number } {
    const { 1: whole, 2: halves } = this.#waits;
    if (halves.isEmpty) return { wholeWaitMs: whole.at(rows), halfWaitMs: whole.at(rows) };
    const halfWaitMs = halves.at(rows / 2);
    if (whole.isEmpty) return { wholeWaitMs: halfWaitMs, halfWaitMs };
    // What was measured before the split may be out of date; but whatever halves do, a whole takes no more than two of them.
    const mostMs = this.#microBatches === 2 ? 2 * halfWaitMs : Number.POSITIVE_INFINITY;
    return { wholeWaitMs: Math.min(whole.at(rows), mostMs), halfWaitMs };
  }
}

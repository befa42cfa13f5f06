import { SampleWindow } from '../base/sample-window.ts';

const DEADLINE = {
  /** The deadline is this many times the peer's 95th percentile. */
  factor: 6,
  /** The least while few laps are known: code is still being compiled. */
  minMs: 1_000,
  /** The least once a 95th percentile is known: a tab's garbage collection and a busy machine's scheduling take less. */
  minKnownMs: 300,
  maxMs: 15_000,
};
/** A lap of this many times the rows that the peer has ever answered is given the longest time: nothing tells how fast its line is. */
const UNHEARD_OF = 4;
/** Laps whose quantiles are used: few enough to forget a bad moment. */
const LAP_WINDOW = 64;
/** Laps from which a 95th percentile is taken. */
const MIN_SAMPLES = 20;
/** Less than this is the noise of timers and schedulers. */
const MIN_HEDGE_MS = 10;
/** While few laps are known, a peer that took its time in its tests gains no more than this by it. */
const MAX_UNKNOWN_HEDGE_MS = 250;
/** Below this multiple of the median, the original answer usually arrives before a replica's. */
const WORTH_A_HEDGE = 1.5;

/** How long one peer's laps take, and so how long a further one may take. */
export class LapDeadlines {
  /** Laps that were answered. Others say nothing of what is usual: a peer could make itself any time by keeping some. */
  readonly lapMs = new SampleWindow(LAP_WINDOW);
  /** Laps of tests and of probation: all that is known of a new peer. */
  readonly testMs = new SampleWindow(LAP_WINDOW);
  readonly #rowMs: () => number;
  #mostRows = 16;

  /** @param rowMs the backend's average time for a row, as the peer tells it */
  constructor(rowMs: () => number) {
    this.#rowMs = rowMs;
  }

  answered(lapMs: number, numRows: number): void {
    this.lapMs.add(lapMs);
    this.#mostRows = Math.max(this.#mostRows, numRows);
  }

  /** Whether enough laps are known to say when one is late. */
  get areKnown(): boolean {
    return this.lapMs.length >= MIN_SAMPLES;
  }

  /** The time that a lap of this many rows is given. A new peer's comes from its tests: a second, unless these took long. */
  deadlineMs(numRows: number, rttMs: number): number {
    const usualMs = this.lapMs.quantile(0.95) ?? this.testMs.quantile(0.95) ?? DEADLINE.minMs / DEADLINE.factor;
    if (this.areKnown && numRows > UNHEARD_OF * this.#mostRows) return DEADLINE.maxMs;
    const scaled = this.#withRows(usualMs, numRows) * DEADLINE.factor + rttMs;
    return Math.min(DEADLINE.maxMs, Math.max(this.areKnown ? DEADLINE.minKnownMs : DEADLINE.minMs, scaled));
  }

  /**
   * The time after which a lap of this many rows is late: this peer's 95th percentile, but at least 1.5 times its median. On a
   * steady line one lap in twenty is a little later than the others, and its answer comes before a replica's could.
   */
  lateAfterMs(numRows: number): number {
    const p95 = this.lapMs.quantile(0.95) ?? this.testMs.quantile(0.95) ?? 0;
    const lateMs = Math.max(p95, WORTH_A_HEDGE * this.usualMs);
    const scaled = Math.max(MIN_HEDGE_MS, this.#withRows(lateMs, numRows));
    return this.areKnown ? scaled : Math.min(MAX_UNKNOWN_HEDGE_MS, scaled);
  }

  /** Median time of its laps or, before the first, of its tests; 0 before these. */
  get usualMs(): number {
    return this.lapMs.quantile(0.5) ?? this.testMs.quantile(0.5) ?? 0;
  }

  /**
   * A time that suits laps of few rows, for this many. Compute grows with rows, the round trip doesn't: each row adds the
   * backend's average, but at least a 64th of the lap, since the compute time is only the peer's word.
   */
  #withRows(lapMs: number, numRows: number): number {
    return lapMs + numRows * Math.max(lapMs / 64, this.#rowMs());
  }
}

/** Counters of a tab's laps since it was opened. */
export interface LapCounters {
  laps: number;
  rows: number;
  /** Time of the backend, in microseconds. */
  computeUs: number;
}

/** Laps of about as many rows are compared. Below this many, a second says nothing. */
const MIN_LAPS = 5;
/**
 * Laps that take this many times as long as they can. Twice as long is not yet a sign: a GPU's clock falls by about half when its load
 * is light, and another program that is as busy as the tab, such as a second tab of the donor's, takes half of its time. Beyond that,
 * somebody waits for frames. A reasoned bound, not one that was measured on GPUs with games.
 */
const SLOW_FACTOR = 3;
/** Seconds in a row that are so slow: opening a program or a page with pictures is over by then. */
const SLOW_SECONDS = 8;
/** Seconds that have to be known first. */
const MIN_SECONDS = 20;
/** By how much the usual time may grow in a second, so that one lucky second is forgotten in an hour. */
const FORGET = 1.0003;
/** First pause; each further one within an hour is twice as long, up to the last. */
const PAUSE = { firstMs: 60_000, lastMs: 900_000, forgetMs: 3_600_000 };

interface Usual {
  lapUs: number;
  seconds: number;
}

/**
 * Tells from a tab's own lap times that another program needs the GPU: laps of the same size take several times as long as they can.
 * The tab then rests for a while, and looks again.
 */
export class OtherProgramWatch {
  /** By the power of two of rows in a lap. */
  readonly #usual = new Map<number, Usual>();
  #before: LapCounters | undefined;
  #slowSeconds = 0;
  #pause = { untilMs: Number.NEGATIVE_INFINITY, lastedMs: 0 };

  /** Until when the tab should rest, in milliseconds of Unix; undefined if it need not. */
  restsUntil(unixMs: number): number | undefined {
    return unixMs < this.#pause.untilMs ? this.#pause.untilMs : undefined;
  }

  /** Called once a second with the counters. */
  read(counters: LapCounters, unixMs: number): void {
    const before = this.#before;
    this.#before = counters;
    // Counters restart with the worker.
    if (!before || counters.laps < before.laps || this.restsUntil(unixMs) !== undefined) return;
    const laps = counters.laps - before.laps;
    if (laps < MIN_LAPS) return;
    const lapUs = (counters.computeUs - before.computeUs) / laps;
    const size = Math.round(Math.log2(Math.max(1, (counters.rows - before.rows) / laps)));
    const usual = this.#usual.get(size) ?? { lapUs, seconds: 0 };
    this.#usual.set(size, { lapUs: Math.min(lapUs, usual.lapUs * FORGET), seconds: usual.seconds + 1 });
    const isSlow = usual.seconds >= MIN_SECONDS && lapUs > SLOW_FACTOR * usual.lapUs;
    this.#slowSeconds = isSlow ? this.#slowSeconds + 1 : 0;
    if (this.#slowSeconds < SLOW_SECONDS) return;
    this.#slowSeconds = 0;
    const { untilMs, lastedMs } = this.#pause;
    const isAgain = unixMs - untilMs < PAUSE.forgetMs;
    const pauseMs = isAgain ? Math.min(PAUSE.lastMs, 2 * lastedMs) : PAUSE.firstMs;
    this.#pause = { untilMs: unixMs + pauseMs, lastedMs: pauseMs };
  }
}

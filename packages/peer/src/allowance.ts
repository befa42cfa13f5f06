/** What the donor's limits allow the tab from now on. */
export interface Allowance {
  /** Share of the time that it computes, 0 (exclusive) to 1. */
  share: number;
  /** It takes no work, and fetches nothing. */
  rests: boolean;
  /** Until when this holds, in milliseconds of Unix: then it rests. */
  untilMs?: number | undefined;
  /** Bytes that it may send and receive from now on: then it rests. */
  trafficBytes?: number | undefined;
}

const EVERYTHING: Allowance = { share: 1, rests: false };

export interface AllowanceWatchOptions {
  /** Bytes that were sent and received since the page was opened. */
  trafficBytes: () => number;
  /** Called once for each allowance that is used up. */
  onSpent: () => void;
  /** Milliseconds of Unix, by the computer's own clock, since limits are about its hours. */
  unixMs?: (() => number) | undefined;
}

/**
 * Holds the tab to its donor's limits where work and weights arrive. The page decides what they allow, but a page may be asleep or
 * busy when they are reached, and a line is fast.
 */
export class AllowanceWatch {
  readonly #options: AllowanceWatchOptions;
  readonly #unixMs: () => number;
  #allowance: Allowance = EVERYTHING;
  #trafficBefore = 0;

  constructor(options: AllowanceWatchOptions) {
    this.#options = options;
    this.#unixMs = options.unixMs ?? (() => Date.now());
  }

  set allowance(allowance: Allowance) {
    this.#allowance = allowance;
    this.#trafficBefore = this.#options.trafficBytes();
  }

  /** Whether laps are taken. */
  get mayWork(): boolean {
    if (this.#allowance.rests) return false;
    const { untilMs = Number.POSITIVE_INFINITY } = this.#allowance;
    return this.#unlessSpent(this.#unixMs() >= untilMs || this.#leftBytes() <= 0);
  }

  /** Whether this many bytes may be fetched, beside what is being fetched. */
  mayFetch(bytes: number): boolean {
    return this.mayWork && this.#unlessSpent(bytes > this.#leftBytes());
  }

  #leftBytes(): number {
    const { trafficBytes } = this.#allowance;
    if (trafficBytes === undefined) return Number.POSITIVE_INFINITY;
    return trafficBytes - (this.#options.trafficBytes() - this.#trafficBefore);
  }

  #unlessSpent(isSpent: boolean): boolean {
    if (isSpent) {
      this.#allowance = { ...this.#allowance, rests: true };
      this.#options.onSpent();
    }
    return !isSpent;
  }
}

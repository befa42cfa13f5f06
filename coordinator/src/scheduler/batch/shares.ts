/**
 * Divides time among the passes in flight: each moment counts in equal parts for all of them. The parts add up to the time in
 * which any pass was in flight, so that tokens by parts are tokens by time, whether passes compete for the dense engine or wait for
 * laps beside each other.
 */
export class Shares {
  readonly #now: () => number;
  readonly #open = new Set<Share>();
  #sinceMs: number;

  /** `now` is a clock in milliseconds. */
  constructor(now: () => number) {
    this.#now = now;
    this.#sinceMs = now();
  }

  /** A pass of so many rows begins. */
  begin(rows: number): Share {
    this.settle();
    const share = new Share(this, rows);
    this.#open.add(share);
    return share;
  }

  end(share: Share): void {
    this.settle();
    this.#open.delete(share);
  }

  /** Divides the time up to now. */
  settle(): void {
    const nowMs = this.#now();
    const ms = nowMs - this.#sinceMs;
    this.#sinceMs = nowMs;
    let rows = 0;
    for (const share of this.#open) rows += share.rows;
    const { size } = this.#open;
    for (const share of this.#open) share.add(ms, size, rows / size);
  }
}

/** One pass's part of the time. */
export class Share {
  readonly rows: number;
  readonly #shares: Shares;
  #ms = 0;
  #flightMs = 0;
  #rowsMs = 0;

  constructor(shares: Shares, rows: number) {
    this.#shares = shares;
    this.rows = rows;
  }

  /** Its part so far, in milliseconds. */
  get ms(): number {
    this.#shares.settle();
    return this.#ms;
  }

  /** Rows of a pass in flight since it began, the average over time and passes. */
  get meanRows(): number {
    this.#shares.settle();
    return this.#flightMs > 0 ? this.#rowsMs / this.#flightMs : this.rows;
  }

  /** Called by `Shares` for a time in which `passes` were in flight, of `meanRows` rows. */
  add(ms: number, passes: number, meanRows: number): void {
    this.#ms += ms / passes;
    this.#flightMs += ms;
    this.#rowsMs += ms * meanRows;
  }
}

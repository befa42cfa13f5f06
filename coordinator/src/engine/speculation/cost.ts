/** What a pass still counts after the next. */
const DECAY = 0.97;
/** Rows² that the slope so far counts as: where all passes have about as many rows, it stays what it was. */
const SLOPE_INERTIA = 16;
/** A pass that took longer than this many times what was expected was held up by something else. */
const OUTLIER = 3;

/** Time of a pass as a + b × rows, fitted to the recent ones by least squares. */
export class PassCost {
  #weight = 0;
  #meanRows = 0;
  #meanMs = 0;
  #varRows = 0;
  #covariance = 0;
  #msPerRow = 0;

  add(rows: number, ms: number): void {
    const isFirst = this.#weight === 0;
    const seen = isFirst ? ms : Math.min(ms, OUTLIER * this.ms(rows));
    // The dearest that a row can be, until passes of other sizes say better.
    if (isFirst) this.#msPerRow = ms / rows;
    this.#weight = this.#weight * DECAY + 1;
    const share = 1 / this.#weight;
    const offRows = rows - this.#meanRows;
    const offMs = seen - this.#meanMs;
    this.#meanRows += share * offRows;
    this.#meanMs += share * offMs;
    this.#varRows = this.#varRows * DECAY + offRows * (rows - this.#meanRows);
    this.#covariance = this.#covariance * DECAY + offRows * (seen - this.#meanMs);
    const slope = (this.#covariance + SLOPE_INERTIA * this.#msPerRow) / (this.#varRows + SLOPE_INERTIA);
    // A row takes time, and no more than its share: noise would have it otherwise.
    this.#msPerRow = Math.min(Math.max(0, slope), this.#meanMs / this.#meanRows);
  }

  get msPerRow(): number {
    return this.#msPerRow;
  }

  /** Expected of a pass with so many rows. */
  ms(rows: number): number {
    return this.#meanMs + (rows - this.#meanRows) * this.#msPerRow;
  }
}

/** What one call still counts after the next. */
const CALL_DECAY = 0.9;

/** Mean time of a kind of call, old ones fading. */
export class CallCost {
  #ms: number | undefined;

  add(ms: number): void {
    this.#ms =
      this.#ms === undefined ? ms : CALL_DECAY * this.#ms + (1 - CALL_DECAY) * Math.min(ms, OUTLIER * this.#ms);
  }

  /** 0 while nothing is known. */
  get ms(): number {
    return this.#ms ?? 0;
  }
}

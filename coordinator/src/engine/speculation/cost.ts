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
  #msPerRow: number | undefined;

  add(rows: number, ms: number): void {
    if (this.#msPerRow === undefined) {
      // The dearest that a row can be, until passes say better. The first one is cold and counts for nothing else: a prompt's
      // many rows would outweigh a hundred passes of one.
      this.#msPerRow = ms / rows;
      this.#meanRows = rows;
      this.#meanMs = ms;
      return;
    }
    const seen = Math.min(ms, OUTLIER * this.ms(rows));
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

  /** 0 while nothing is known. */
  get msPerRow(): number {
    return this.#msPerRow ?? 0;
  }

  /** Expected of a pass with so many rows. */
  ms(rows: number): number {
    return this.#meanMs + (rows - this.#meanRows) * this.msPerRow;
  }
}

/** What one call still counts after the next; and after one that was faster: calls are held up, and the first are cold. */
const CALL_DECAY = 0.9;
const FASTER_DECAY = 0.5;

/** Mean time of a kind of call, old ones fading. */
export class CallCost {
  #ms: number | undefined;

  add(ms: number): void {
    if (this.#ms === undefined) {
      this.#ms = ms;
      return;
    }
    const decay = ms < this.#ms ? FASTER_DECAY : CALL_DECAY;
    this.#ms = decay * this.#ms + (1 - decay) * Math.min(ms, OUTLIER * this.#ms);
  }

  /** 0 while nothing is known. */
  get ms(): number {
    return this.#ms ?? 0;
  }
}

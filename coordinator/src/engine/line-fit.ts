/** A sample weighs this much of the one after it: some fifty tell the line. */
const DECAY = 0.98;
/** Rows have to differ by about this share of their mean, or nothing is known of their price. */
const LEAST_SPREAD = 0.1;

/** What takes a + b × rows, fitted to recent samples by least squares; neither a nor b is negative. In milliseconds. */
export class LineFit {
  /** Decayed sums over samples: 1, rows, rows², ms, rows × ms. */
  #weight = 0;
  #rows = 0;
  #rowsSquared = 0;
  #ms = 0;
  #rowsMs = 0;

  add(rows: number, ms: number): void {
    this.#weight = this.#weight * DECAY + 1;
    this.#rows = this.#rows * DECAY + rows;
    this.#rowsSquared = this.#rowsSquared * DECAY + rows * rows;
    this.#ms = this.#ms * DECAY + ms;
    this.#rowsMs = this.#rowsMs * DECAY + rows * ms;
  }

  clear(): void {
    this.#weight = this.#rows = this.#rowsSquared = this.#ms = this.#rowsMs = 0;
  }

  get isEmpty(): boolean {
    return this.#weight === 0;
  }

  /** `baseMs` that any takes and `rowMs` for each row. Of samples of about equal rows: all base. */
  get line(): { baseMs: number; rowMs: number } {
    const meanMs = this.#ms / this.#weight;
    const meanRows = this.#rows / this.#weight;
    const variance = this.#rowsSquared / this.#weight - meanRows ** 2;
    if (variance < (LEAST_SPREAD * meanRows) ** 2) return { baseMs: meanMs, rowMs: 0 };
    const slope = (this.#rowsMs / this.#weight - meanRows * meanMs) / variance;
    const rowMs = Math.min(Math.max(0, slope), meanMs / meanRows);
    return { baseMs: meanMs - rowMs * meanRows, rowMs };
  }

  at(rows: number): number {
    const { baseMs, rowMs } = this.line;
    return baseMs + rowMs * rows;
  }
}

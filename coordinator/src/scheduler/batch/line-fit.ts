import { DecayedLine } from '../../base/decayed-line.ts';

/** A sample weighs this much of the one after it: some fifty tell the line. */
const DECAY = 0.98;
/** Rows have to differ by about this share of their mean, or nothing is known of their price. */
const LEAST_SPREAD = 0.1;

/** What takes a + b × rows, fitted to recent samples by least squares; neither a nor b is negative. In milliseconds. */
export class LineFit {
  readonly #line = new DecayedLine(DECAY);

  add(rows: number, ms: number): void {
    this.#line.add(rows, ms);
  }

  clear(): void {
    this.#line.clear();
  }

  get isEmpty(): boolean {
    return this.#line.weight === 0;
  }

  /** `baseMs` that any takes and `rowMs` for each row. Of samples of about equal rows: all base. */
  get line(): { baseMs: number; rowMs: number } {
    const { varianceX, meanX, meanY } = this.#line;
    if (varianceX < (LEAST_SPREAD * meanX) ** 2) return { baseMs: meanY, rowMs: 0 };
    const { base, slope } = this.#line.fit();
    return { baseMs: base, rowMs: slope };
  }

  at(rows: number): number {
    const { baseMs, rowMs } = this.line;
    return baseMs + rowMs * rows;
  }
}

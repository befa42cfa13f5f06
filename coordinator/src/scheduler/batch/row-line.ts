/** Times that a line is fitted to. A change of network or load shows after half as many. */
export const WINDOW = 16;
/** A row's price counts as known once Σ (rows − mean)² over the window reaches this: two passes with one draft, two without. */
const MIN_SPREAD_ROWS2 = 1;
/** A known price is estimated anew from this on: one pass with a draft (a probe) among fifteen without. */
const MIN_PROBE_ROWS2 = 0.5;

/** `base + slope × rows` through the recent passes or calls; neither is negative. */
export class RowLine<Timed> {
  readonly #read: (timed: Timed) => number;
  readonly #rowsOf: (timed: Timed) => number;
  readonly #recent: Timed[] = [];
  #rowMs: number | undefined;

  constructor(read: (timed: Timed) => number, rowsOf: (timed: Timed) => number) {
    this.#read = read;
    this.#rowsOf = rowsOf;
  }

  get length(): number {
    return this.#recent.length;
  }

  get isEmpty(): boolean {
    return this.#recent.length === 0;
  }

  get meanRows(): number {
    return this.#recent.reduce((sum, each) => sum + this.#rowsOf(each), 0) / this.length;
  }

  /** Σ (rows − mean)². */
  get spreadRows2(): number {
    const mean = this.meanRows;
    return this.#recent.reduce((sum, each) => sum + (this.#rowsOf(each) - mean) ** 2, 0);
  }

  get mostRows(): number {
    return Math.max(0, ...this.#recent.map((each) => this.#rowsOf(each)));
  }

  add(timed: Timed): void {
    this.#recent.push(timed);
    if (this.#recent.length > WINDOW) this.#recent.shift();
  }

  dropFirst(): void {
    this.#recent.shift();
  }

  clear(): void {
    this.#recent.length = 0;
    this.#rowMs = undefined;
  }

  /** The slope; the last one known where all recent ones had the same rows, undefined if there never was one. */
  get rowMs(): number | undefined {
    if (this.spreadRows2 < (this.#rowMs === undefined ? MIN_SPREAD_ROWS2 : MIN_PROBE_ROWS2)) return this.#rowMs;
    const slopes: Weighted[] = [];
    for (const [i, a] of this.#recent.entries()) {
      for (const b of this.#recent.slice(i + 1)) {
        const rows = this.#rowsOf(a) - this.#rowsOf(b);
        if (rows !== 0) slopes.push({ value: (this.#read(a) - this.#read(b)) / rows, weight: Math.abs(rows) });
      }
    }
    return (this.#rowMs = Math.max(0, weightedMedian(slopes)!));
  }

  at(rows: number, rowMs = this.rowMs ?? 0): number {
    const bases = this.#recent.map((each) => ({ value: this.#read(each) - rowMs * this.#rowsOf(each), weight: 1 }));
    return Math.max(0, (weightedMedian(bases) ?? 0) + rowMs * rows);
  }
}

/** A window whose rows differ by this part of their mean says half of what there is to know of a row's price. */
const TELLING_SPREAD = 0.1;
/** What is left of a price after a pass that says nothing about it: what is not known is to be tried again some day. */
const FADING = 0.995;

interface Point {
  rows: number;
  ms: number;
}

/**
 * `base + price × rows` through recent times. The price is learnt the faster the more the rows differ: where they hardly do,
 * the slope of the line is mostly noise.
 */
export class PriceLine {
  readonly #line = new RowLine<Point>(
    ({ ms }) => ms,
    ({ rows }) => rows,
  );
  #rowMs: number | undefined;

  get isEmpty(): boolean {
    return this.#line.isEmpty;
  }

  /** One more row; undefined until times of different rows are known. */
  get rowMs(): number | undefined {
    return this.#rowMs;
  }

  /** The most that one more row can cost. */
  get boundMs(): number {
    return this.#line.at(0, 0) / this.#line.meanRows;
  }

  dropFirst(): void {
    this.#line.dropFirst();
  }

  add(rows: number, ms: number): void {
    this.#line.add({ rows, ms });
    const { length, meanRows, spreadRows2: spread, rowMs: slope } = this.#line;
    if (slope === undefined) return;
    const bound = this.boundMs;
    const before = this.#rowMs ?? bound;
    const weight = (spread / (spread + length * (TELLING_SPREAD * meanRows) ** 2)) ** 2;
    this.#rowMs = spread < MIN_PROBE_ROWS2 ? FADING * before : Math.min(bound, before + weight * (slope - before));
  }

  at(rows: number, rowMs: number): number {
    return this.#line.at(rows, rowMs);
  }
}

interface Weighted {
  value: number;
  weight: number;
}

/** The smallest value at which half of the total weight is reached; undefined for no values. */
export function weightedMedian(values: Weighted[]): number | undefined {
  const sorted = values.toSorted((a, b) => a.value - b.value);
  const half = values.reduce((sum, { weight }) => sum + weight, 0) / 2;
  let below = 0;
  return sorted.find(({ weight }) => (below += weight) >= half)?.value;
}

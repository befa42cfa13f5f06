/** What one pass computed and how long that took. Times are in milliseconds. */
export interface PassTimes {
  /** All rows of the micro-batch, and the prompt rows among them. */
  rows: number;
  promptRows: number;
  /** From the start of the pass until its rows were computed. */
  passMs: number;
  /** The part of `passMs` that is its own where other passes were in flight, and the rows of a pass meanwhile (`Shares`). */
  shareMs: number;
  meanRows: number;
  /** From the start of the pass until the drafts for the next one were made. */
  turnMs: number;
  /** The part of `turnMs` in which the dense engine worked for this pass. */
  engineMs: number;
  /** The part of `turnMs` in which the pass could only wait for laps. */
  waitedMs: number;
}

/** Passes that a line is fitted to. A change of network or load shows after half as many. */
const WINDOW = 16;
/** Passes without prompt rows, and with them, that are needed before the cost of either counts as known. */
const MIN_PASSES = 4;
const MIN_PROMPT_PASSES = 2;
/** A row's price counts as known once Σ (rows − mean)² over the window reaches this: two passes with one draft, two without. */
const MIN_SPREAD_ROWS2 = 1;
/** A known price is estimated anew from this on: one pass with a draft (a probe) among fifteen without. */
const MIN_PROBE_ROWS2 = 0.5;

/**
 * What passes cost, estimated from the recent ones. The scheduler asks it how many prompt rows fit beside decoding sequences,
 * how many drafts pay, and whether two micro-batches in flight are faster than one.
 *
 * Every estimate is a line `base + slope × rows` through the last 16 passes of a kind: the slope is the weighted median of the
 * slopes between pairs of passes (Theil 1950, Sen 1968), so that a few passes held up by something else do not move it.
 */
export class PassCosts {
  readonly #engine = new RowLine((pass) => pass.engineMs);
  readonly #decode = new RowLine((pass) => pass.passMs);
  readonly #decodeTurn = new RowLine((pass) => pass.turnMs);
  readonly #share = new RowLine(
    (pass) => pass.shareMs,
    (pass) => pass.meanRows,
  );
  readonly #waits = { 1: new RowLine((pass) => pass.waitedMs), 2: new RowLine((pass) => pass.waitedMs) };
  /** Recent passes with both decoding and prompt rows, or with prompt rows only. */
  readonly #mixed: PassTimes[] = [];
  /** Passes with prompt rows since start. */
  #promptPasses = 0;
  readonly #drafting = { first: new CallCost(), deeper: new CallCost() };
  /** Passes that decoded and had prompt rows, since the last one without prompt rows. */
  mixedInARow = 0;
  /** The cheapest row seen: an upper bound for what one more row costs, until passes of different sizes tell. */
  #rowBoundMs = 0;

  /** Adds a pass whose rows have been computed; `turnMs`, `engineMs` and `waitedMs` may still grow while drafts are made. */
  add(pass: PassTimes): void {
    this.#engine.add(pass);
    const rowMs = pass.shareMs / pass.meanRows;
    this.#rowBoundMs = this.#rowBoundMs === 0 ? rowMs : Math.min(this.#rowBoundMs, rowMs);
    if (pass.promptRows === 0) {
      this.mixedInARow = 0;
      this.#decode.add(pass);
      this.#decodeTurn.add(pass);
      this.#share.add(pass);
      return;
    }
    if (pass.rows > pass.promptRows) this.mixedInARow++;
    // The first one is cold: experts are read from the disk for it, and code is compiled.
    if (this.#promptPasses++ === 1) this.#mixed.shift();
    this.#mixed.push(pass);
    if (this.#mixed.length > WINDOW) this.#mixed.shift();
  }

  /** Adds what the pass waited to the estimate for that many micro-batches in flight. */
  addWait(microBatches: 1 | 2, pass: PassTimes): void {
    this.#waits[microBatches].add(pass);
  }

  forgetWaits(microBatches: 1 | 2): void {
    this.#waits[microBatches].clear();
  }

  /** Adds a pass's share of one call of the drafter for all its sequences: for their first drafts, or for one further depth. */
  addDraftCall(depth: 'first' | 'deeper', ms: number): void {
    this.#drafting[depth].add(ms);
  }

  /** The dense engine's own time for a pass of `rows` rows and for the drafts after it. */
  engineMs(rows: number): number {
    return this.#engine.at(rows);
  }

  /** What a pass of `rows` rows waits with that many micro-batches in flight; undefined while unknown. */
  waitMs(rows: number, microBatches: 1 | 2): number | undefined {
    return this.#waits[microBatches].isEmpty ? undefined : this.#waits[microBatches].at(rows);
  }

  /** A pass over `rows` decoding rows (drafts included), its laps included and drafting not; 0 while unknown. */
  passMs(rows: number): number {
    return this.#decode.at(rows, this.#decode.rowMs ?? this.#rowBoundMs);
  }

  /**
   * The part of the time that a pass over `rows` decoding rows takes for itself: tokens by shares are tokens by time, however many
   * micro-batches there are. 0 while unknown.
   */
  shareMs(rows: number): number {
    return this.#share.at(rows, this.rowMs);
  }

  /** One more decoding row in every pass in flight, of a pass's share; an upper bound while `isRowGuess`. */
  get rowMs(): number {
    return this.#share.rowMs ?? this.#rowBoundMs;
  }

  get isRowGuess(): boolean {
    return this.#share.rowMs === undefined;
  }

  /** Whether enough passes without prompt rows are known for `passMs`. */
  get isDecodeKnown(): boolean {
    return this.#decode.length >= MIN_PASSES;
  }

  /**
   * One prompt row beside decoding rows, the drafting that it causes included; undefined while unknown. Never more than the bound:
   * one pass that had to wait for something, as for experts that are read from the disk, may have most of all recent prompt rows.
   */
  get promptRowMs(): number | undefined {
    if (!this.isDecodeKnown || this.#mixed.length < MIN_PROMPT_PASSES) return undefined;
    const added = this.#mixed.map(({ rows, promptRows, turnMs }) => ({
      value: (turnMs - this.#decodeTurn.at(rows - promptRows)) / promptRows,
      weight: promptRows,
    }));
    return Math.min(weightedMedian(added)!, this.promptRowBoundMs!);
  }

  /** An upper bound for what one prompt row costs: the least time of recent passes by prompt rows. Undefined before the first. */
  get promptRowBoundMs(): number | undefined {
    if (this.#mixed.length === 0) return undefined;
    return Math.min(...this.#mixed.map(({ promptRows, turnMs }) => turnMs / promptRows));
  }

  /** The most decoding rows of a recent pass without prompt rows; 0 without such a pass. */
  get mostDecodeRows(): number {
    return this.#decode.mostRows;
  }

  /** The most prompt rows that a recent pass took. */
  get mostPromptRows(): number {
    return Math.max(0, ...this.#mixed.map(({ promptRows }) => promptRows));
  }

  /** Making the drafts of one depth (from 1), given those before, for all sequences together; 0 while unknown. */
  draftMs(depth: number): number {
    return this.#drafting[depth === 1 ? 'first' : 'deeper'].ms;
  }
}

/** `base + slope × rows` through the recent passes; neither is negative. */
class RowLine {
  readonly #read: (pass: PassTimes) => number;
  readonly #rowsOf: (pass: PassTimes) => number;
  readonly #passes: PassTimes[] = [];
  #rowMs: number | undefined;

  constructor(read: (pass: PassTimes) => number, rowsOf = ({ rows }: PassTimes): number => rows) {
    this.#read = read;
    this.#rowsOf = rowsOf;
  }

  get length(): number {
    return this.#passes.length;
  }

  get isEmpty(): boolean {
    return this.#passes.length === 0;
  }

  get mostRows(): number {
    return Math.max(0, ...this.#passes.map(({ rows }) => rows));
  }

  add(pass: PassTimes): void {
    this.#passes.push(pass);
    if (this.#passes.length > WINDOW) this.#passes.shift();
  }

  clear(): void {
    this.#passes.length = 0;
    this.#rowMs = undefined;
  }

  /** The slope; the last one known where all recent passes had the same rows, undefined if there never was one. */
  get rowMs(): number | undefined {
    const mean = this.#passes.reduce((sum, pass) => sum + this.#rowsOf(pass), 0) / this.length;
    const spread = this.#passes.reduce((sum, pass) => sum + (this.#rowsOf(pass) - mean) ** 2, 0);
    if (spread < (this.#rowMs === undefined ? MIN_SPREAD_ROWS2 : MIN_PROBE_ROWS2)) return this.#rowMs;
    const slopes: Weighted[] = [];
    for (const [i, a] of this.#passes.entries()) {
      for (const b of this.#passes.slice(i + 1)) {
        const rows = this.#rowsOf(a) - this.#rowsOf(b);
        if (rows !== 0) slopes.push({ value: (this.#read(a) - this.#read(b)) / rows, weight: Math.abs(rows) });
      }
    }
    return (this.#rowMs = Math.max(0, weightedMedian(slopes)!));
  }

  at(rows: number, rowMs = this.rowMs ?? 0): number {
    const bases = this.#passes.map((pass) => ({ value: this.#read(pass) - rowMs * this.#rowsOf(pass), weight: 1 }));
    return Math.max(0, (weightedMedian(bases) ?? 0) + rowMs * rows);
  }
}

interface Weighted {
  value: number;
  weight: number;
}

/** The smallest value at which half of the total weight is reached; undefined for no values. */
function weightedMedian(values: Weighted[]): number | undefined {
  const sorted = values.toSorted((a, b) => a.value - b.value);
  const half = values.reduce((sum, { weight }) => sum + weight, 0) / 2;
  let below = 0;
  return sorted.find(({ weight }) => (below += weight) >= half)?.value;
}

/** What one call keeps of the estimate when the next is slower, and when it is faster: slow calls are mostly held-up ones. */
const CALL_DECAY = 0.9;
const FASTER_DECAY = 0.5;
/** A call counts for at most this many times the estimate. */
const OUTLIER = 3;

/** Decayed mean time of a kind of call. */
class CallCost {
  #ms: number | undefined;
  #calls = 0;

  add(ms: number): void {
    this.#calls++;
    // The first call is cold: of the first two, the faster one counts.
    if (this.#ms === undefined || this.#calls === 2) {
      this.#ms = Math.min(ms, this.#ms ?? ms);
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

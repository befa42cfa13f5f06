import { PriceLine, RowLine, weightedMedian, WINDOW } from './row-line.ts';

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

/** Passes without prompt rows, and with them, that are needed before the cost of either counts as known. */
const MIN_PASSES = 4;
const MIN_PROMPT_PASSES = 2;
const rowsOf = ({ rows }: PassTimes): number => rows;

/**
 * What passes cost, estimated from the recent ones. The scheduler asks it how many prompt rows fit beside decoding sequences,
 * how many drafts pay, and whether two micro-batches in flight are faster than one.
 *
 * Every estimate is a line `base + slope × rows` through the last 16 passes of a kind: the slope is the weighted median of the
 * slopes between pairs of passes (Theil 1950, Sen 1968), so that a few passes held up by something else do not move it.
 */
export class PassCosts {
  readonly #engine = new RowLine<PassTimes>((pass) => pass.engineMs, rowsOf);
  readonly #decode = new RowLine<PassTimes>((pass) => pass.passMs, rowsOf);
  readonly #decodeTurn = new RowLine<PassTimes>((pass) => pass.turnMs, rowsOf);
  readonly #share = new PriceLine();
  readonly #waits = {
    1: new RowLine<PassTimes>((pass) => pass.waitedMs, rowsOf),
    2: new RowLine<PassTimes>((pass) => pass.waitedMs, rowsOf),
  };
  /** Recent passes with both decoding and prompt rows, or with prompt rows only. */
  readonly #mixed: PassTimes[] = [];
  /** Passes with prompt rows since start. */
  #promptPasses = 0;
  /** What a call of the drafter adds to a pass's share of the time, in parts of its own. */
  #callShare = 1;
  readonly #calls = new PriceLine();
  #numCalls = 0;
  readonly #drafting = { first: new CallKind(), deeper: new CallKind() };
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
      this.#share.add(pass.meanRows, pass.shareMs);
      this.#callShare += SHARE_WEIGHT * (callShareOf(pass) - this.#callShare);
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

  /** Adds one call of the drafter for all sequences of a pass: for their first drafts, or for one further depth. */
  addDraftCall(depth: 'first' | 'deeper', call: DraftCall): void {
    // The first call is cold.
    if (this.#numCalls++ === 1) this.#calls.dropFirst();
    this.#calls.add(call.rows, call.ms);
    this.#drafting[depth].add(call);
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
    const { rowMs } = this.#decodeTurn;
    const added = this.#mixed.map(({ rows, promptRows, turnMs }) => ({
      value: (turnMs - this.#decodeTurn.at(rows - promptRows, rowMs)) / promptRows,
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

  /** A call of the drafter for one depth (from 1), given those before: for no sequence, for each sequence, and for each row; 0 while unknown. */
  draftCall(depth: number): { ms: number; msPerStream: number; msPerRow: number } {
    const { line: own, rowsPerStream } = this.#drafting[depth === 1 ? 'first' : 'deeper'];
    if (own.isEmpty) return { ms: 0, msPerStream: 0, msPerRow: 0 };
    // Both kinds mostly do the same work, and together tell more of it.
    const isAlike = own.boundMs > this.#calls.boundMs / UNLIKE && own.boundMs < UNLIKE * this.#calls.boundMs;
    const line = isAlike ? this.#calls : own;
    const rowMs = line.rowMs ?? line.boundMs / 2;
    const msPerRow = this.#callShare * rowMs;
    return { ms: this.#callShare * line.at(0, rowMs), msPerStream: msPerRow * rowsPerStream, msPerRow };
  }

  /** Whether it is known what further depths cost. */
  get isDraftCallKnown(): boolean {
    return !this.#drafting.deeper.line.isEmpty;
  }
}

/** One call of the drafter for so many sequences and rows; its time is without that in which the threads ran another pass. */
export interface DraftCall {
  streams: number;
  rows: number;
  ms: number;
}

/** Weight of the last pass in what a call adds to a share. */
const SHARE_WEIGHT = 0.1;

/**
 * A call is work of the dense engine. Where that is always busy, all passes in flight wait for it; where they mostly wait for
 * laps, only its own does, which is a part of a share as equal as the passes' are.
 */
function callShareOf({ passMs, shareMs, engineMs }: PassTimes): number {
  return shareMs > 0 ? Math.max(shareMs / passMs, Math.min(1, engineMs / shareMs)) : 1;
}

/** Calls whose rows take so many times as long are another kind of work. */
const UNLIKE = 4;
/** Weight of the last call in the average of rows a sequence. */
const CALL_WEIGHT = 0.1;

/** What calls of a kind cost, and how many rows a sequence has in them. */
class CallKind {
  readonly line = new PriceLine();
  rowsPerStream = 1;
  #calls = 0;

  add({ rows, streams, ms }: DraftCall): void {
    // The first call is cold.
    if (++this.#calls === 2) this.line.dropFirst();
    this.line.add(rows, ms);
    this.rowsPerStream += CALL_WEIGHT * (rows / streams - this.rowsPerStream);
  }
}

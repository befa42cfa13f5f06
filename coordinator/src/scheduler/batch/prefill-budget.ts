import type { PassTimes } from './pass-times.ts';

type PassCost = Pick<PassTimes, 'rows' | 'promptRows' | 'passMs' | 'turnMs'>;

export interface PrefillBudgetOptions {
  /** Prompt rows of a pass beside which nobody waits for a token, and the most there ever are. */
  maxRows: number;
  /** Laps of one pass; 0: all that there is of it counts as one. */
  lapsPerPass: number;
}

/** Prompts always come forward by so many rows a pass, whatever they cost: together they then cost no more than one stream more. */
export const MIN_PREFILL_ROWS = 1;
/** Until costs are known. */
export const FIRST_PREFILL_ROWS = 8;
/** Passes of either kind that are looked back on: a changed network is known after half as many. */
const WINDOW = 16;
/** As many of a kind tell something. */
const LEAST_PASSES = 4;
/** So many passes with prompt rows, then one without, so that what they are compared with stays known. */
const PASSES_BETWEEN_BASELINES = 16;
/** Beyond what was tried the cost of a row need not be the same: the budget grows so much at most over the last passes'. */
const GROWTH = 1.25;

/**
 * How many prompt rows a pass may take beside decoding sequences (chunked prefill, Agrawal et al. 2023, SARATHI): as many as
 * lengthen it by no more than the time of one lap, a pass without them divided by its laps. What a pass takes without
 * prompt rows, a + b·rows, and what each prompt row adds are measured: the slope that is the median of those between pairs of
 * passes (Theil 1950, Sen 1968) and a median over passes, both weighted by how much each tells, which a few passes that were
 * held up by something else do not move. What prompt rows add to the time of making drafts is part of their cost, and no part
 * of a lap.
 */
export class PrefillBudget {
  readonly #options: PrefillBudgetOptions;
  readonly #decodeOnly: PassCost[] = [];
  readonly #mixed: PassCost[] = [];
  #mixedInARow = 0;
  #costs: { pass: Line; promptRowMs: number } | undefined;

  constructor(options: PrefillBudgetOptions) {
    this.#options = options;
  }

  /** A pass is over. */
  add(pass: PassCost): void {
    const window = pass.promptRows === 0 ? this.#decodeOnly : this.#mixed;
    window.push(pass);
    if (window.length > WINDOW) window.shift();
    if (pass.promptRows === 0) this.#mixedInARow = 0;
    else if (decodeRows(pass) > 0) this.#mixedInARow++;
    this.#costs = undefined;
  }

  /**
   * Prompt rows of the next pass beside so many of decoding sequences, which they may hold up by so many laps' time: they are
   * expected to lengthen it by no more, but that one is taken whatever it costs.
   */
  rowsBeside(decodeRows: number, laps: number): number {
    const { maxRows } = this.#options;
    if (decodeRows === 0) return maxRows;
    if (this.#mixedInARow >= this.#mixedBeforeBaseline) return 0;
    const lapMs = this.lapMs(decodeRows);
    if (lapMs === undefined || this.#mixed.length < LEAST_PASSES) return Math.min(FIRST_PREFILL_ROWS, maxRows);
    const { promptRowMs } = this.#costs!;
    const tried = Math.max(FIRST_PREFILL_ROWS, ...this.#mixed.map(({ promptRows }) => promptRows));
    const fitting = promptRowMs > 0 ? Math.floor((laps * lapMs) / promptRowMs) : maxRows;
    return Math.min(maxRows, Math.max(MIN_PREFILL_ROWS, Math.min(fitting, Math.ceil(GROWTH * tried))));
  }

  /** What one lap of a pass over so many decoding rows takes, with the coordinator's work around it; undefined until known. */
  lapMs(decodeRows: number): number | undefined {
    if (this.#decodeOnly.length < LEAST_PASSES) return undefined;
    this.#costs ??= fit(this.#decodeOnly, this.#mixed);
    return Math.max(0, at(this.#costs.pass, decodeRows)) / Math.max(1, this.#options.lapsPerPass);
  }

  get #mixedBeforeBaseline(): number {
    return this.#decodeOnly.length < LEAST_PASSES ? LEAST_PASSES : PASSES_BETWEEN_BASELINES;
  }
}

function decodeRows({ rows, promptRows }: PassCost): number {
  return rows - promptRows;
}

/** baseMs + rowMs × rows. */
interface Line {
  baseMs: number;
  rowMs: number;
}

function at({ baseMs, rowMs }: Line, rows: number): number {
  return baseMs + rowMs * rows;
}

function fit(decodeOnly: readonly PassCost[], mixed: readonly PassCost[]): { pass: Line; promptRowMs: number } {
  const turn = lineOf(decodeOnly.map(({ rows, turnMs }) => ({ rows, ms: turnMs })));
  const added = mixed.map((one) => ({
    value: (one.turnMs - at(turn, decodeRows(one))) / one.promptRows,
    weight: one.promptRows,
  }));
  const pass = lineOf(decodeOnly.map(({ rows, passMs }) => ({ rows, ms: passMs })));
  return { pass, promptRowMs: weightedMedian(added) ?? 0 };
}

/** Of at least one sample. */
function lineOf(samples: readonly { rows: number; ms: number }[]): Line {
  const slopes: Weighted[] = [];
  for (const [i, a] of samples.entries()) {
    for (const b of samples.slice(i + 1)) {
      const rows = a.rows - b.rows;
      if (rows !== 0) slopes.push({ value: (a.ms - b.ms) / rows, weight: Math.abs(rows) });
    }
  }
  const rowMs = Math.max(0, weightedMedian(slopes) ?? 0);
  return { baseMs: weightedMedian(samples.map(({ rows, ms }) => ({ value: ms - rowMs * rows, weight: 1 })))!, rowMs };
}

interface Weighted {
  value: number;
  weight: number;
}

/** Half of the weight is at or below it; undefined of nothing. */
function weightedMedian(values: Weighted[]): number | undefined {
  const sorted = values.toSorted((a, b) => a.value - b.value);
  const half = values.reduce((sum, { weight }) => sum + weight, 0) / 2;
  let below = 0;
  return sorted.find(({ weight }) => (below += weight) >= half)?.value;
}

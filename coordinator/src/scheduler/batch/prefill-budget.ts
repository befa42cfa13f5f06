import type { PassCosts } from './pass-costs.ts';

export interface PrefillBudgetOptions {
  costs: PassCosts;
  /** Prompt rows of a pass beside which no sequence decodes, and the most there ever are. */
  maxRows: number;
  /** Laps of one pass; a pass without laps counts as one. */
  lapsPerPass: number;
}

/** Prompts always advance by this many rows a pass; together they then cost no more than one more stream. */
export const MIN_PREFILL_ROWS = 1;
/** Prompt rows while nothing but a bound on their cost is known. */
export const FIRST_PREFILL_ROWS = 8;
/** Prompts may lengthen a pass to this in any case: 20 tokens a second are more than anybody reads. */
export const UNFELT_PASS_MS = 50;
/** Passes with prompt rows before one without them, so that the cost of decoding alone stays known. */
const PASSES_BETWEEN_BASELINES = 16;
const PASSES_BETWEEN_FIRST_BASELINES = 4;
/** The budget grows by at most this factor over the largest recent pass: far beyond it the cost of a row is not known. */
const GROWTH = 2;

/**
 * Limits the prompt rows that a pass takes beside decoding sequences (chunked prefill, Agrawal et al. 2023, SARATHI): as many as
 * lengthen it by no more than the time of `laps` laps, where a lap's time is a pass without prompt rows divided by its laps, or as
 * keep it so short that a reader does not notice.
 */
export class PrefillBudget {
  readonly #options: PrefillBudgetOptions;

  constructor(options: PrefillBudgetOptions) {
    this.#options = options;
  }

  /** Prompt rows of the next pass beside `decodeRows` decoding rows, which they may delay by the time of `laps` laps. */
  rowsBeside(decodeRows: number, laps: number): number {
    const { costs, maxRows, lapsPerPass } = this.#options;
    if (decodeRows === 0) return maxRows;
    const between = costs.isDecodeKnown ? PASSES_BETWEEN_BASELINES : PASSES_BETWEEN_FIRST_BASELINES;
    if (costs.mixedInARow >= between) return 0;
    const { promptRowMs, promptRowBoundMs } = costs;
    const rowMs = promptRowMs ?? promptRowBoundMs;
    if (rowMs === undefined) return Math.min(FIRST_PREFILL_ROWS, maxRows);
    const passMs = costs.passMs(decodeRows);
    const allowedMs = Math.max((laps * passMs) / Math.max(1, lapsPerPass), UNFELT_PASS_MS - passMs);
    const fitting = rowMs > 0 ? Math.floor(allowedMs / rowMs) : maxRows;
    const least = promptRowMs === undefined ? FIRST_PREFILL_ROWS : MIN_PREFILL_ROWS;
    const tried = Math.max(FIRST_PREFILL_ROWS, costs.mostPromptRows);
    return Math.min(maxRows, Math.max(least, Math.min(fitting, GROWTH * tried)));
  }
}

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
/** Prompt rows while their cost is unknown. */
export const FIRST_PREFILL_ROWS = 8;
/** Passes with prompt rows before one without them, so that the cost of decoding alone stays known. */
const PASSES_BETWEEN_BASELINES = 16;
const PASSES_BETWEEN_FIRST_BASELINES = 4;
/** The budget grows by at most this factor over the largest recent pass: beyond it the cost of a row is not known. */
const GROWTH = 1.25;

/**
 * Limits the prompt rows that a pass takes beside decoding sequences (chunked prefill, Agrawal et al. 2023, SARATHI): as many as
 * lengthen it by no more than the time of `laps` laps, where a lap's time is a pass without prompt rows divided by its laps.
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
    const { promptRowMs } = costs;
    if (promptRowMs === undefined) return Math.min(FIRST_PREFILL_ROWS, maxRows);
    const lapMs = costs.passMs(decodeRows) / Math.max(1, lapsPerPass);
    const fitting = promptRowMs > 0 ? Math.floor((laps * lapMs) / promptRowMs) : maxRows;
    const tried = Math.max(FIRST_PREFILL_ROWS, costs.mostPromptRows);
    return Math.min(maxRows, Math.max(MIN_PREFILL_ROWS, Math.min(fitting, Math.ceil(GROWTH * tried))));
  }
}

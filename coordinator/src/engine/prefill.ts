import { PrefillBudget, type PrefillBudgetOptions, type PassCost } from './prefill-budget.ts';
import { PromptShare } from './prompt-share.ts';
import type { Sequence } from './sequence.ts';

/** Which prompt rows the next pass computes: how many (prefill-budget.ts), and of whom (prompt-share.ts). */
export class Prefill {
  readonly #budget: PrefillBudget;
  readonly #share = new PromptShare();

  constructor(options: PrefillBudgetOptions) {
    this.#budget = new PrefillBudget(options);
  }

  /** Of the sequences whose prompts are being computed, the rows of each in a pass over all of these. */
  plan(sequences: readonly Sequence[]): ReadonlyMap<Sequence, number> {
    const prompts = sequences.filter(({ state }) => state === 'prefill');
    const budget = this.#budget.rowsBeside(sequences.length - prompts.length);
    const rows = this.#share.of(
      prompts.map(({ request, ids, cache }) => ({
        client: request.client ?? '',
        remaining: ids.length - cache!.length,
      })),
      budget,
    );
    return new Map(prompts.map((sequence, i) => [sequence, rows[i]!]));
  }

  /** A pass is over. */
  add(pass: PassCost): void {
    this.#budget.add(pass);
  }
}

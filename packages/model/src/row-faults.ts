import { type MoeCall, NO_EXPERT } from './dispatch.ts';
import { ModelError } from './errors.ts';
import type { RowAnswer } from './token-query.ts';

/**
 * The rows of one pass that are no longer finite, each with the error that says where that happened first. A later row of the
 * same sequence attends to such a row, so the first of a sequence's faults is its cause.
 */
export class RowFaults {
  readonly #errors = new Map<number, ModelError>();
  /** [numRows], the sequence that each row belongs to. */
  readonly #sequences: readonly object[];

  constructor(sequences: readonly object[]) {
    this.#sequences = sequences;
  }

  /** Looks for rows of values [numRows, width] that are not finite. `cause` says what has computed them, of a row. */
  check(values: Float32Array, cause: (row: number) => string): void {
    const width = values.length / this.#sequences.length;
    for (const [row, sequence] of this.#sequences.entries()) {
      if (this.#errors.has(row) || isFinite32(values, row * width, (row + 1) * width)) continue;
      const first = [...this.#errors].find(([other]) => this.#sequences[other] === sequence)?.[1];
      this.#errors.set(row, first ?? new ModelError('bad-value', 'numbers', notFinite(cause(row))));
    }
  }

  /** Checks what a gate has chosen and what the chosen experts gave. */
  checkExperts({ layer, topkIdx, topkWeights, numRows }: MoeCall, routed: Float32Array): void {
    const perRow = topkIdx.length / numRows;
    const chosen = (row: number): string =>
      [...topkIdx.subarray(row * perRow, (row + 1) * perRow)].filter((expert) => expert !== NO_EXPERT).join(', ');
    this.check(topkWeights, () => `a weight of the gate of layer ${layer}`);
    this.check(routed, (row) => `the sum of experts ${chosen(row)} of layer ${layer}`);
  }

  /** A pass's result with the errors, which are also the rows' answers. */
  into<Result extends { answers: (RowAnswer | undefined)[] }>(
    result: Result,
  ): Result & { faults?: readonly (Error | undefined)[] } {
    if (this.#errors.size === 0) return result;
    const faults = this.#sequences.map((_, row) => this.#errors.get(row));
    const answers = result.answers.map((answer, row) => (answer === undefined ? undefined : (faults[row] ?? answer)));
    return { ...result, answers, faults };
  }
}

function notFinite(cause: string): string {
  return `${cause} is NaN or beyond float32: a weight is damaged, or the model's numbers are too large`;
}

function isFinite32(values: Float32Array, from: number, to: number): boolean {
  for (let i = from; i < to; i++) if (!Number.isFinite(values[i])) return false;
  return true;
}

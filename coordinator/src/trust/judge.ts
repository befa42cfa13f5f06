import { type WorkItem, sliceRows } from '@shoal/model';
import { type Bounds, compareRow } from './compare.ts';

/** Σ weight × expert(row) for each row of a request, [numRows, hiddenSize], by the coordinator itself. */
export type Compute = (request: WorkItem) => Promise<Float32Array>;

export type RowVerdict = 'right' | 'wrong' | 'incomparable';

export interface JudgeOptions {
  compute: Compute;
  /** The same from weights that are read anew, so that a spoilt cache of the coordinator's condemns nobody. */
  recompute: Compute;
}

/** Compares answers with the coordinator's own computation. Only what it has computed twice counts as wrong. */
export class Judge {
  readonly #options: JudgeOptions;
  /** Rows that seemed wrong and were right at the second look: the coordinator's own mistakes. */
  retracted = 0;

  constructor(options: JudgeOptions) {
    this.#options = options;
  }

  /**
   * A verdict for each row of an answer, [numRows, hiddenSize]. Rejects only when the coordinator cannot compute the rows
   * itself, which says nothing about the peer.
   */
  async rows(request: WorkItem, answer: Float32Array, bounds: Bounds): Promise<RowVerdict[]> {
    const D = request.rows.length / request.numRows;
    const expected = await this.#options.compute(request);
    const verdicts: RowVerdict[] = [];
    for (let row = 0; row < request.numRows; row++) {
      const [from, to] = [row * D, (row + 1) * D];
      const answered = answer.subarray(from, to);
      const { verdict } = compareRow(answered, expected.subarray(from, to), bounds);
      if (verdict !== 'mismatch') {
        verdicts.push(verdict === 'match' ? 'right' : 'incomparable');
        continue;
      }
      const again = await this.#options.recompute(sliceRows(request, row));
      const confirmed = compareRow(answered, again, bounds).verdict === 'mismatch';
      if (!confirmed) this.retracted++;
      verdicts.push(confirmed ? 'wrong' : 'right');
    }
    return verdicts;
  }
}

import { sliceRows, type WorkItem } from '@shoal/model';
import { type Bounds, compareRow } from './compare.ts';

/** Computes Σ weight × expert(row) for each row, [numRows, hiddenSize], on the coordinator. */
export type Compute = (item: WorkItem) => Promise<Float32Array>;

export type RowVerdict = 'right' | 'wrong' | 'incomparable';

export interface JudgeOptions {
  compute: Compute;
  /** The same with weights read from disk again, so that a corrupted cache on the coordinator condemns no peer. */
  recompute: Compute;
}

/** Compares answers with the coordinator's own computation. A row counts as wrong only after a second computation. */
export class Judge {
  readonly #options: JudgeOptions;
  /** Rows that seemed wrong but matched the second computation: the coordinator's own errors. */
  retracted = 0;

  constructor(options: JudgeOptions) {
    this.#options = options;
  }

  /**
   * A verdict for each row of an answer, [numRows, hiddenSize]. Rejects only if the coordinator cannot compute the rows, which
   * says nothing about the peer.
   */
  async rows(item: WorkItem, answer: Float32Array, bounds: Bounds): Promise<RowVerdict[]> {
    const hiddenSize = item.rows.length / item.numRows;
    const expected = await this.#options.compute(item);
    const verdicts: RowVerdict[] = [];
    for (let row = 0; row < item.numRows; row++) {
      const [from, to] = [row * hiddenSize, (row + 1) * hiddenSize];
      const answered = answer.subarray(from, to);
      const { verdict } = compareRow(answered, expected.subarray(from, to), bounds);
      if (verdict !== 'mismatch') {
        verdicts.push(verdict === 'match' ? 'right' : 'incomparable');
        continue;
      }
      const again = await this.#options.recompute(sliceRows(item, row));
      const confirmed = compareRow(answered, again, bounds).verdict === 'mismatch';
      if (!confirmed) this.retracted++;
      verdicts.push(confirmed ? 'wrong' : 'right');
    }
    return verdicts;
  }
}

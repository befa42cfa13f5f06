import type { ExpertChooser } from './gates/top-k.ts';
import { halfRows, rowRange, rowStart, type RowWork, type WorkItem } from './work-item.ts';

/** The routed experts' work for one MoE layer and one batch. The caller leaves the arrays unchanged until `combine` settles. */
export interface MoeCall {
  layer: number;
  numRows: number;
  /** [numRows, hiddenSize], normalised hidden states. */
  x: Float32Array;
  /** [numRows, k], expert indices within the layer. A row with fewer than k experts, or none, has NO_EXPERT in the rest. */
  topkIdx: Int32Array;
  /** [numRows, k], the gate's weights; 0 where there is no expert. */
  topkWeights: Float32Array;
}

/** Stands in `topkIdx` where a row has no further expert. Nothing is computed or sent for it. */
export const NO_EXPERT = -1;

/** Assignments in arrays that a call's may be copied to. */
export interface CallWork extends RowWork {
  rowEnd: Uint32Array;
  experts: Uint16Array;
  weights: Float32Array;
}

/** A call's assignments, row by row, without the places that have no expert. */
export function assignmentsOfCall({ numRows, topkIdx, topkWeights }: Omit<MoeCall, 'layer' | 'x'>): CallWork {
  const perRow = topkIdx.length / numRows;
  const rowEnd = new Uint32Array(numRows);
  const [experts, weights] = [new Uint16Array(topkIdx.length), new Float32Array(topkIdx.length)];
  let end = 0;
  for (let row = 0; row < numRows; row++) {
    for (let place = row * perRow; place < (row + 1) * perRow; place++) {
      if (topkIdx[place] === NO_EXPERT) continue;
      experts[end] = topkIdx[place]!;
      weights[end++] = topkWeights[place]!;
    }
    rowEnd[row] = end;
  }
  return { numRows, rowEnd, experts: experts.subarray(0, end), weights: weights.subarray(0, end) };
}

/** All of a call as one item, its rows in f16 as peers get them. */
export function itemOfCall(call: MoeCall): WorkItem {
  const { layer, numRows, x } = call;
  const work = assignmentsOfCall(call);
  return { layer, ...halfRows(x, x.length / numRows), ...work, rowEnd: Uint16Array.from(work.rowEnd) };
}

/** The other way round of `assignmentsOfCall`: each row's assignments, filled up with NO_EXPERT to those of the row that has the most. */
export function topkOfAssignments(work: RowWork): Pick<MoeCall, 'topkIdx' | 'topkWeights'> {
  const { numRows, experts, weights } = work;
  let perRow = 0;
  for (let row = 0; row < numRows; row++) perRow = Math.max(perRow, work.rowEnd[row]! - rowStart(work, row));
  const topkIdx = new Int32Array(numRows * perRow).fill(NO_EXPERT);
  const topkWeights = new Float32Array(numRows * perRow);
  for (let row = 0; row < numRows; row++) {
    const [from, to] = rowRange(work, row);
    for (let a = from; a < to; a++) {
      topkIdx[row * perRow + a - from] = experts[a]!;
      topkWeights[row * perRow + a - from] = weights[a]!;
    }
  }
  return { topkIdx, topkWeights };
}

/**
 * Computes the routed experts, in this process or in tabs over the network.
 * `dispatch()` starts the work and returns at once; `combine()` resolves to Σ over a row's experts of weight × expert(x),
 * [numRows, hiddenSize], which is 0 for a row without experts. The shared expert is computed between the two. `combine` is called exactly once.
 */
export interface ExpertDispatch {
  /**
   * May replace the gate's choice for a row of the batch (device-limited routing). `scores` [nRoutedExperts] are the scores that
   * the gate selects by, `allowed` the experts that its group limit leaves, ascending. Returns numExpertsPerTok of them, or
   * undefined to keep the gate's choice.
   */
  choose?(layer: number, row: number, scores: Float32Array, allowed: readonly number[]): ArrayLike<number> | undefined;
  dispatch(call: MoeCall): { combine(): Promise<Float32Array> };
}

/** `experts.choose` for one layer, where there is one. */
export function chooserOf(experts: ExpertDispatch, layer: number): ExpertChooser | undefined {
  return experts.choose && ((row, scores, allowed) => experts.choose!(layer, row, scores, allowed));
}

/** Throws a RangeError unless `combine()` has returned as many values as the rows have. */
export function checkCombined(routed: Float32Array, { layer, numRows, x }: MoeCall): void {
  if (routed.length === x.length) return;
  const width = x.length / numRows;
  throw new RangeError(`layer ${layer}: combine() returned ${routed.length} values for ${numRows} rows of ${width}`);
}

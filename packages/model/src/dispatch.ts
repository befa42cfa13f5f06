import type { ExpertChooser } from './gates/top-k.ts';

/** The routed experts' work for one MoE layer and one batch. The caller leaves the arrays unchanged until `combine` settles. */
export interface MoeCall {
  layer: number;
  numRows: number;
  /** [numRows, hiddenSize], normalised hidden states. */
  x: Float32Array;
  /** [numRows, numExpertsPerTok], expert indices within the layer. */
  topkIdx: Uint16Array;
  /** [numRows, numExpertsPerTok], the gate's weights. */
  topkWeights: Float32Array;
}

/**
 * Computes the routed experts, in this process or in tabs over the network.
 * `dispatch()` starts the work and returns at once; `combine()` resolves to Σ over a row's experts of weight × expert(x),
 * [numRows, hiddenSize]. The shared expert is computed between the two. `combine` is called exactly once.
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

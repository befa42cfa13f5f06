/** The routed experts' work for one MoE layer and one batch. Arrays belong to the caller and stay unchanged until `combine` settles. */
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
 * Whoever computes the routed experts: this process, or tabs over the network.
 * `dispatch()` starts the work and returns at once; `combine()` resolves to Σ over a row's experts of weight × expert(x),
 * [numRows, hiddenSize]. The shared expert is computed between the two. `combine` is called exactly once.
 */
export interface ExpertDispatch {
  /**
   * May replace the gate's choice for a row of the batch (device-limited routing). `scores` [nRoutedExperts] is what the gate
   * selects by, `allowed` the experts that its own group limit leaves, ascending. Returns numExpertsPerTok of them, or
   * undefined for the gate's own choice.
   */
  choose?(layer: number, row: number, scores: Float32Array, allowed: readonly number[]): ArrayLike<number> | undefined;
  dispatch(call: MoeCall): { combine(): Promise<Float32Array> };
}

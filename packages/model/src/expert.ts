import { linear, silu } from './math.ts';

/** One SwiGLU feed-forward network: a dense layer's, the shared expert or one routed expert. */
export interface SwigluWeights {
  /** [width, hiddenSize] */
  gate: Float32Array;
  /** [width, hiddenSize] */
  up: Float32Array;
  /** [hiddenSize, width] */
  down: Float32Array;
}

/** y = W_down (silu(W_gate x) ⊙ W_up x) for every row of x [numRows, hiddenSize]; returns [numRows, hiddenSize]. */
export function swigluExpert(
  x: Float32Array,
  weights: SwigluWeights,
  numRows: number,
  hiddenSize: number,
): Float32Array {
  const width = weights.down.length / hiddenSize;
  const hidden = linear(x, weights.gate, numRows, hiddenSize, width);
  const up = linear(x, weights.up, numRows, hiddenSize, width);
  for (let i = 0; i < hidden.length; i++) hidden[i] = silu(hidden[i]!) * up[i]!;
  return linear(hidden, weights.down, numRows, width, hiddenSize);
}

/** Hugging Face names of a checkpoint's tensors. */

/** The three matrices of one routed expert: gate and up [moeIntermediateSize, hiddenSize], down [hiddenSize, moeIntermediateSize]. */
export function expertTensorNames(layer: number, expert: number): { gate: string; up: string; down: string } {
  const prefix = `model.layers.${layer}.mlp.experts.${expert}.`;
  return { gate: `${prefix}gate_proj.weight`, up: `${prefix}up_proj.weight`, down: `${prefix}down_proj.weight` };
}

import type { LayerAdapters } from './adapters/layer-adapters.ts';
import { addBias } from './expert.ts';
import { groupLimit } from './gates/group-limited.ts';
import { type ExpertChooser, type GateChoice, type SelectionConfig, selectTopK } from './gates/top-k.ts';
import { linear } from './math.ts';
import type { ModelConfig } from './model-config.ts';

export interface GateWeights {
  /** [gateWidth, hiddenSize]: a row for each expert, or for each slot of a gate that makes slots. */
  weight: Float32Array;
  /** [nRoutedExperts], part of the logits; null where the family has none. */
  logitBias: Float32Array | null;
  /** [nRoutedExperts], e_score_correction_bias: for selection only. null where the family has none. */
  bias: Float32Array | null;
}

/** The gate's logits of one MoE layer [numRows, gateWidth], of x [numRows, hiddenSize]. */
export function gateLogits(
  { hiddenSize }: Pick<ModelConfig, 'hiddenSize'>,
  { weight, logitBias }: GateWeights,
  x: Float32Array,
  numRows: number,
  adapters?: LayerAdapters,
): Float32Array {
  const logits = linear(x, weight, numRows, hiddenSize, weight.length / hiddenSize);
  adapters?.add('moeGate', x, logits);
  return addBias(logits, logitBias);
}

/**
 * The gate of both engines where it looks at each row alone: selects each row's experts from its logits [numRows, nRoutedExperts], within the best groups of
 * experts where `config.gate` has such a limit. Depending on `config.gate` this is `noaux_tc` (DeepSeek-V3 paper §2.1.2, eq.
 * 12–16), `group_limited_greedy` or `greedy` (DeepSeek-V2 paper §2.2) or plain top-k (Mixtral, Qwen3, OLMoE, Llama 4). A row of NaN
 * logits still gets valid, distinct experts (and NaN weights), so that it affects no other row.
 */
export function selectExperts(
  config: SelectionConfig,
  logits: Float32Array,
  bias: Float32Array | null,
  numRows: number,
  choose?: ExpertChooser,
): GateChoice {
  return selectTopK(config, logits, bias, numRows, { allowed: groupLimit(config), choose });
}

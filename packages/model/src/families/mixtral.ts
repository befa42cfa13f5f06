import { z } from 'zod';
import {
  commonConfig,
  commonKeys,
  dimension,
  type Family,
  headCount,
  refuseUnsupportedCommon,
  unsupported,
} from './family.ts';
import { readFp8BlockSize } from './fp8-keys.ts';
import { gqaConfig, numExpertsKeys, readNumExperts, softmaxGate } from './gqa.ts';
import { readRopeKeys, ropeConfig } from './rope-keys.ts';

const schema = z.object({
  ...commonKeys,
  num_key_value_heads: headCount,
  head_dim: dimension.nullish(),
  ...numExpertsKeys,
  sliding_window: z.int().min(1).nullish(),
});

/** Mixtral-8x7B and 8x22B (paper 2401.04088): every layer has experts, as wide as `intermediate_size`. */
export const mixtral: Family<typeof schema> = {
  modelType: 'mixtral',
  architecture: 'MixtralForCausalLM',
  schema,
  // Noise on the router's input, in training only.
  ignoredKeys: ['router_jitter_noise'],
  moeNames: { block: 'block_sparse_moe', gate: 'w1', up: 'w3', down: 'w2' },
  toConfig: (raw, where) => {
    refuseUnsupportedCommon(raw, where);
    const window = raw.sliding_window;
    if (window !== undefined && window !== null && window < raw.max_position_embeddings) {
      throw unsupported(
        where,
        'sliding_window',
        `is ${window}, less than max_position_embeddings ${raw.max_position_embeddings}; this version attends to the ` +
          'whole context only',
      );
    }
    const nRoutedExperts = readNumExperts(raw, where);
    const attention = gqaConfig(raw, { qkNorm: 'none', clipQkv: null }, where);
    return {
      modelType: 'mixtral',
      ...commonConfig(raw, where),
      moeIntermediateSize: raw.intermediate_size,
      sharedIntermediateSize: 0,
      layerKinds: Array.from({ length: raw.num_hidden_layers }, () => 'moe'),
      nRoutedExperts,
      attention,
      rope: ropeConfig(readRopeKeys(raw, where), attention.headDim, 'halves'),
      // A softmax over the chosen logits, which is the same as normalising the chosen probabilities.
      gate: softmaxGate(true),
      numNextnPredictLayers: 0,
      mtpHidden: 'after-norm',
      fp8BlockSize: readFp8BlockSize(raw.quantization_config, where),
    };
  },
};

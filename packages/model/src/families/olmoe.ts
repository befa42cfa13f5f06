import { z } from 'zod';
import { commonConfig, commonKeys, type Family, headCount, positive, refuseUnsupportedCommon } from './family.ts';
import { readFp8BlockSize } from './fp8-keys.ts';
import { gqaConfig, numExpertsKeys, readNumExperts, softmaxGate } from './gqa.ts';
import { readRopeKeys, ropeConfig } from './rope-keys.ts';

const schema = z.object({
  ...commonKeys,
  num_key_value_heads: headCount,
  ...numExpertsKeys,
  norm_topk_prob: z.boolean(),
  clip_qkv: positive.nullish(),
});

/** OLMoE-1B-7B (paper 2409.02060): every layer has experts, as wide as `intermediate_size`. */
export const olmoe: Family<typeof schema> = {
  modelType: 'olmoe',
  architecture: 'OlmoeForCausalLM',
  schema,
  ignoredKeys: [],
  moeNames: { block: 'mlp', gate: 'gate_proj', up: 'up_proj', down: 'down_proj' },
  toConfig: (raw, where) => {
    refuseUnsupportedCommon(raw, where);
    const nRoutedExperts = readNumExperts(raw, where);
    const attention = gqaConfig(raw, { qkNorm: 'whole', clipQkv: raw.clip_qkv ?? null }, where);
    return {
      modelType: 'olmoe',
      ...commonConfig(raw, where),
      moeIntermediateSize: raw.intermediate_size,
      sharedIntermediateSize: 0,
      layerKinds: Array.from({ length: raw.num_hidden_layers }, () => 'moe'),
      nRoutedExperts,
      attention,
      rope: ropeConfig(readRopeKeys(raw, where), attention.headDim, 'halves'),
      gate: softmaxGate(raw.norm_topk_prob),
      numNextnPredictLayers: 0,
      mtpHidden: 'after-norm',
      fp8BlockSize: readFp8BlockSize(raw.quantization_config, where),
    };
  },
};

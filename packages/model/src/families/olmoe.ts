import { z } from 'zod';
import { commonKeys, type Family, headCount, positive, refuseUnsupportedCommon, storedAsNamed } from './family.ts';
import { gqaModelConfig, numExpertsKeys } from './gqa.ts';

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
  storedAt: storedAsNamed,
  toConfig: (raw, where) => {
    refuseUnsupportedCommon(raw, where);
    const { intermediate_size: moeIntermediateSize, norm_topk_prob: normTopkProb, clip_qkv: clipQkv = null } = raw;
    return gqaModelConfig('olmoe', raw, { qkNorm: 'whole', clipQkv, moeIntermediateSize, normTopkProb }, where);
  },
};

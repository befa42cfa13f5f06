import { z } from 'zod';
import {
  commonKeys,
  type Family,
  positive,
  refuseAttentionBias,
  refuseUnsupportedCommon,
  storedAsNamed,
} from './family.ts';
import { softmaxGate } from './gates.ts';
import { gqaModelConfig, headKeys, numExpertsKeys } from './gqa.ts';

const schema = z.object({
  ...commonKeys,
  ...headKeys,
  ...numExpertsKeys,
  norm_topk_prob: z.boolean(),
  clip_qkv: positive.nullish(),
});

/** OLMoE-1B-7B (paper 2409.02060): every layer has experts, as wide as `intermediate_size`. */
export const olmoe: Family<typeof schema> = {
  modelType: 'olmoe',
  architectures: ['OlmoeForCausalLM'],
  schema,
  ignoredKeys: [],
  storedAt: storedAsNamed,
  toConfig: (raw, where) => {
    refuseUnsupportedCommon(raw, where);
    refuseAttentionBias(raw, where);
    return gqaModelConfig(
      'olmoe',
      raw,
      {
        moeIntermediateSize: raw.intermediate_size,
        gate: softmaxGate({ normTopkProb: raw.norm_topk_prob }),
        attention: { qkNorm: 'whole', clipQkv: raw.clip_qkv ?? null },
      },
      where,
    );
  },
};

import { z } from 'zod';
import {
  commonKeys,
  dimension,
  type Family,
  refuseAttentionBias,
  refuseUnsupportedCommon,
  storedAsNamed,
} from './family.ts';
import { softmaxGate } from './gates.ts';
import { gqaModelConfig, headKeys, numExpertsKeys } from './gqa.ts';
import { refuseUnlistedWindow, sparseStepKeys, sparseStepKinds } from './layer-types.ts';

const schema = z.object({
  ...commonKeys,
  ...headKeys,
  ...numExpertsKeys,
  ...sparseStepKeys,
  moe_intermediate_size: dimension,
  norm_topk_prob: z.boolean(),
  use_sliding_window: z.boolean().default(false),
  // Qwen3-Coder states what all models of this family have.
  use_qk_norm: z.literal(true).optional(),
  qkv_bias: z.literal(false).optional(),
  shared_expert_intermediate_size: z.literal(0).optional(),
});

/** Qwen3-30B-A3B, Qwen3-235B-A22B and other Qwen3 MoE models (paper 2505.09388). */
export const qwen3Moe: Family<typeof schema> = {
  modelType: 'qwen3_moe',
  architectures: ['Qwen3MoeForCausalLM'],
  schema,
  // Both have no effect without use_sliding_window.
  ignoredKeys: ['sliding_window', 'max_window_layers'],
  storedAt: storedAsNamed,
  toConfig: (raw, where) => {
    refuseUnsupportedCommon(raw, where);
    refuseAttentionBias(raw, where);
    refuseUnlistedWindow(raw, where);
    return gqaModelConfig(
      'qwen3_moe',
      raw,
      {
        moeIntermediateSize: raw.moe_intermediate_size,
        gate: softmaxGate({ normTopkProb: raw.norm_topk_prob }),
        attention: { qkNorm: 'per-head' },
        layerKinds: sparseStepKinds(raw),
      },
      where,
    );
  },
};

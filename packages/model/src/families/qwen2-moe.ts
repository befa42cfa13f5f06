import { z } from 'zod';
import { commonKeys, dimension, type Family, refuseAttentionBias, refuseUnsupportedCommon } from './family.ts';
import { softmaxGate } from './gates.ts';
import { gqaModelConfig, headKeys, numExpertsKeys } from './gqa.ts';
import {
  readLayerTypes,
  refuseUnlistedWindow,
  spanKeys,
  sparseStepKeys,
  sparseStepKinds,
  withRope,
} from './layer-types.ts';

const schema = z.object({
  ...commonKeys,
  ...headKeys,
  ...numExpertsKeys,
  ...sparseStepKeys,
  ...spanKeys,
  moe_intermediate_size: dimension,
  shared_expert_intermediate_size: dimension,
  norm_topk_prob: z.boolean().default(false),
  use_sliding_window: z.boolean().default(false),
  qkv_bias: z.boolean().default(true),
});

/** Qwen1.5-MoE-A2.7B and Qwen2-57B-A14B (paper 2407.10671): a shared expert with a gate of its own. */
export const qwen2Moe: Family<typeof schema> = {
  modelType: 'qwen2_moe',
  architectures: ['Qwen2MoeForCausalLM'],
  schema,
  // It has no effect without use_sliding_window, nor beside layer_types.
  ignoredKeys: ['max_window_layers'],
  storedAt: (name) => ({ name: name.replace('.mlp.shared_experts.', '.mlp.shared_expert.') }),
  toConfig: (raw, where) => {
    refuseUnsupportedCommon(raw, where);
    refuseAttentionBias(raw, where);
    const spans = readLayerTypes(raw, where);
    if (!spans) refuseUnlistedWindow(raw, where);
    return gqaModelConfig(
      'qwen2_moe',
      raw,
      {
        moeIntermediateSize: raw.moe_intermediate_size,
        sharedIntermediateSize: raw.shared_expert_intermediate_size,
        sharedExpertGate: true,
        gate: softmaxGate({ normTopkProb: raw.norm_topk_prob }),
        attention: { bias: { qkv: raw.qkv_bias, o: false } },
        layerKinds: sparseStepKinds(raw),
        ...(spans && { layerAttention: withRope(spans) }),
      },
      where,
    );
  },
};

import { z } from 'zod';
import type { LayerKind } from '../model-config.ts';
import type { Family } from './family.ts';
import {
  commonKeys,
  dimension,
  headCount,
  layerCount,
  refuseUnsupportedCommon,
  storedAsNamed,
  unsupported,
} from './family.ts';
import { gqaModelConfig, numExpertsKeys } from './gqa.ts';

const schema = z.object({
  ...commonKeys,
  moe_intermediate_size: dimension,
  num_key_value_heads: headCount,
  head_dim: dimension.nullish(),
  ...numExpertsKeys,
  norm_topk_prob: z.boolean(),
  decoder_sparse_step: z.int().min(1).max(1024).default(1),
  mlp_only_layers: z.array(layerCount).max(1024).nullish(),
  use_sliding_window: z.boolean().default(false),
  // Qwen3-Coder states what all models of this family have.
  use_qk_norm: z.literal(true).optional(),
  shared_expert_intermediate_size: z.literal(0).optional(),
});

type Raw = z.infer<typeof schema>;

/** Qwen3-30B-A3B, Qwen3-235B-A22B and other Qwen3 MoE models (paper 2505.09388). */
export const qwen3Moe: Family<typeof schema> = {
  modelType: 'qwen3_moe',
  architecture: 'Qwen3MoeForCausalLM',
  schema,
  // Both have no effect without use_sliding_window.
  ignoredKeys: ['sliding_window', 'max_window_layers'],
  storedAt: storedAsNamed,
  toConfig: (raw, where) => {
    refuseUnsupportedCommon(raw, where);
    if (raw.use_sliding_window) {
      throw unsupported(where, 'use_sliding_window', 'is true; this version attends to the whole context only');
    }
    const { moe_intermediate_size: moeIntermediateSize, norm_topk_prob: normTopkProb } = raw;
    const choices = { qkNorm: 'per-head', clipQkv: null, moeIntermediateSize, normTopkProb } as const;
    return gqaModelConfig('qwen3_moe', raw, { ...choices, layerKinds: layerKinds(raw) }, where);
  },
};

/** Every `decoder_sparse_step`-th layer, counted from 1, has experts unless `mlp_only_layers` lists it. */
function layerKinds(raw: Raw): LayerKind[] {
  const dense = new Set(raw.mlp_only_layers);
  return Array.from({ length: raw.num_hidden_layers }, (_, layer) =>
    !dense.has(layer) && (layer + 1) % raw.decoder_sparse_step === 0 ? 'moe' : 'dense',
  );
}

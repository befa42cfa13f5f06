import { z } from 'zod';
import type { LayerKind } from '../model-config.ts';
import {
  commonConfig,
  commonKeys,
  dimension,
  type Family,
  headCount,
  layerCount,
  refuseUnsupportedCommon,
  unsupported,
} from './family.ts';
import { readFp8BlockSize } from './fp8-keys.ts';
import { gqaConfig, numExpertsKeys, readNumExperts, softmaxGate } from './gqa.ts';
import { readRopeKeys, ropeConfig } from './rope-keys.ts';

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
});

type Raw = z.infer<typeof schema>;

/** Qwen3-30B-A3B, Qwen3-235B-A22B and their kin (paper 2505.09388). */
export const qwen3Moe: Family<typeof schema> = {
  modelType: 'qwen3_moe',
  architecture: 'Qwen3MoeForCausalLM',
  schema,
  // Both have no effect without use_sliding_window.
  ignoredKeys: ['sliding_window', 'max_window_layers'],
  moeNames: { block: 'mlp', gate: 'gate_proj', up: 'up_proj', down: 'down_proj' },
  toConfig: (raw, where) => {
    refuseUnsupportedCommon(raw, where);
    if (raw.use_sliding_window) {
      throw unsupported(where, 'use_sliding_window', 'is true; this version attends to the whole context only');
    }
    const nRoutedExperts = readNumExperts(raw, where);
    const attention = gqaConfig(raw, { qkNorm: 'per-head', clipQkv: null }, where);
    return {
      modelType: 'qwen3_moe',
      ...commonConfig(raw, where),
      moeIntermediateSize: raw.moe_intermediate_size,
      sharedIntermediateSize: 0,
      layerKinds: layerKinds(raw),
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

/** Every `decoder_sparse_step`-th layer has experts, counted from 1, unless `mlp_only_layers` names it. */
function layerKinds(raw: Raw): LayerKind[] {
  const dense = new Set(raw.mlp_only_layers);
  return Array.from({ length: raw.num_hidden_layers }, (_, layer) =>
    !dense.has(layer) && (layer + 1) % raw.decoder_sparse_step === 0 ? 'moe' : 'dense',
  );
}

import { z } from 'zod';
import type { GateConfig, LayerKind, MlaConfig, ModelConfig, ModelType } from '../model-config.ts';
import { yarnMscale } from '../yarn.ts';
import {
  commonConfig,
  commonKeys,
  dimension,
  expertCount,
  fullAttention,
  headCount,
  layerCount,
  positive,
  refuse,
  refuseAttentionBias,
  refuseSeveralMtpModules,
  refuseUnsupportedCommon,
  unsupported,
} from './family.ts';
import { refuseGroups } from './gates.ts';
import { readRopeKeys, refusePartialRotary, ropeConfig, type RopeKeys } from './rope-keys.ts';

/** The keys that families with MLA share: shared experts, first dense layers, routing groups. */
export const deepseekKeys = {
  ...commonKeys,
  moe_intermediate_size: dimension,
  first_k_dense_replace: layerCount,
  moe_layer_freq: z.int().min(1).max(1024).default(1),
  num_key_value_heads: headCount.optional(),
  head_dim: dimension.optional(),
  qk_head_dim: dimension.optional(),
  q_lora_rank: dimension.nullable(),
  kv_lora_rank: dimension,
  qk_nope_head_dim: dimension,
  qk_rope_head_dim: dimension,
  v_head_dim: dimension,
  n_routed_experts: expertCount,
  num_local_experts: z.int().optional(),
  n_shared_experts: layerCount.nullable(),
  norm_topk_prob: z.boolean(),
  routed_scaling_factor: positive,
  rope_interleave: z.boolean().optional(),
  num_nextn_predict_layers: layerCount.default(0),
} satisfies z.ZodRawShape;

export type DeepseekKeys = z.infer<z.ZodObject<typeof deepseekKeys>>;

/** Keys of training and bookkeeping. */
export const deepseekIgnoredKeys = ['aux_loss_alpha', 'ep_size', 'seq_aux'] as const;

/** The config of these families, which differ in `gate`. */
export function deepseekConfig(modelType: ModelType, raw: DeepseekKeys, gate: GateConfig, where: string): ModelConfig {
  refuseUnsupported(raw, where);
  const ropeKeys = readRopeKeys(raw, where);
  refusePartialRotary(ropeKeys, where);
  refuseContradictions(raw, gate, where);
  return {
    modelType,
    ...commonConfig(raw, where),
    moeIntermediateSize: raw.moe_intermediate_size,
    sharedIntermediateSize: (raw.n_shared_experts ?? 0) * raw.moe_intermediate_size,
    sharedExpertGate: false,
    expert: { activation: 'swiglu', bias: false },
    layerKinds: layerKinds(raw),
    layerAttention: fullAttention(raw.num_hidden_layers + raw.num_nextn_predict_layers),
    nRoutedExperts: raw.n_routed_experts,
    attention: mlaConfig(raw, ropeKeys),
    rope: ropeConfig(ropeKeys, raw.qk_rope_head_dim, 'interleaved'),
    gate,
    numNextnPredictLayers: raw.num_nextn_predict_layers,
    // Public sources disagree. The default model was trained with the normed state: teacher-forced on held-out text, 757 of 800
    // first drafts are right with it and 750 with the state before the norm (docs/measurements/speculation.md).
    mtpHidden: 'after-norm',
  };
}

function mlaConfig(raw: DeepseekKeys, { scaling }: RopeKeys): MlaConfig {
  // DeepSeek's code applies the temperature to keys and queries both, hence the square; mscale_all_dim 0 gives 1.
  const temperature = scaling?.type === 'yarn' ? yarnMscale(scaling.factor, scaling.mscaleAllDim) : 1;
  return {
    kind: 'mla',
    numAttentionHeads: raw.num_attention_heads,
    qLoraRank: raw.q_lora_rank,
    kvLoraRank: raw.kv_lora_rank,
    qkNopeHeadDim: raw.qk_nope_head_dim,
    qkRopeHeadDim: raw.qk_rope_head_dim,
    vHeadDim: raw.v_head_dim,
    softmaxScale: temperature ** 2 / Math.sqrt(raw.qk_nope_head_dim + raw.qk_rope_head_dim),
  };
}

/** The MTP module's layer follows the main model's and is of the same kind as their last ones. */
function layerKinds(raw: DeepseekKeys): LayerKind[] {
  return Array.from({ length: raw.num_hidden_layers + raw.num_nextn_predict_layers }, (_, layer) =>
    layer >= raw.first_k_dense_replace && layer % raw.moe_layer_freq === 0 ? 'moe' : 'dense',
  );
}

function refuseUnsupported(raw: DeepseekKeys, where: string): void {
  refuseUnsupportedCommon(raw, where);
  refuseAttentionBias(raw, where);
  if (raw.rope_interleave === false) {
    const detail = 'is false; DeepSeek checkpoints rotate interleaved pairs, and only that is computed';
    throw unsupported(where, 'rope_interleave', detail);
  }
  refuseSeveralMtpModules(raw, where);
}

function refuseContradictions(raw: DeepseekKeys, gate: GateConfig, where: string): void {
  const check = (wrong: boolean, key: keyof DeepseekKeys, detail: string): void =>
    refuse(raw, where, wrong, key, detail);
  refuseGroups({ ...raw, n_group: gate.nGroup, topk_group: gate.topkGroup }, gate, where);
  check(
    raw.num_local_experts !== undefined && raw.num_local_experts !== raw.n_routed_experts,
    'num_local_experts',
    `n_routed_experts is ${raw.n_routed_experts}`,
  );
  check(
    raw.first_k_dense_replace > raw.num_hidden_layers,
    'first_k_dense_replace',
    `num_hidden_layers is ${raw.num_hidden_layers}`,
  );
  check(raw.qk_rope_head_dim % 2 !== 0, 'qk_rope_head_dim', 'RoPE rotates pairs: it must be even');
  check(
    raw.num_key_value_heads !== undefined && raw.num_key_value_heads !== raw.num_attention_heads,
    'num_key_value_heads',
    `latent attention expands keys for each of the ${raw.num_attention_heads} num_attention_heads: the two must be equal`,
  );
  const qkHeadDim = raw.qk_nope_head_dim + raw.qk_rope_head_dim;
  check(
    raw.qk_head_dim !== undefined && raw.qk_head_dim !== qkHeadDim,
    'qk_head_dim',
    `qk_nope_head_dim + qk_rope_head_dim is ${qkHeadDim}`,
  );
  check(
    raw.head_dim !== undefined && raw.head_dim !== qkHeadDim && raw.head_dim !== raw.qk_rope_head_dim,
    'head_dim',
    `neither qk_rope_head_dim (${raw.qk_rope_head_dim}) nor qk_nope_head_dim + qk_rope_head_dim (${qkHeadDim}): remove it`,
  );
  check(
    raw.num_nextn_predict_layers > 0 && raw.num_hidden_layers % raw.moe_layer_freq !== 0,
    'moe_layer_freq',
    'the layer of the MTP module, after num_hidden_layers layers, would not be an MoE layer',
  );
}

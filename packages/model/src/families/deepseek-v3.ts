import { z } from 'zod';
import { ModelError } from '../errors.ts';
import type { ModelConfig } from '../model-config.ts';

/**
 * Limits far above any published model, so that a hostile config cannot ask for an absurd allocation or lose exactness
 * in index arithmetic.
 */
const MAX_DIMENSION = 1 << 20;
const MAX_LAYERS = 1024;
/** topkIdx travels as 16 bits. */
const MAX_EXPERTS = 0xffff;

const dimension = z.int().min(1).max(MAX_DIMENSION);
const count = z.int().min(0).max(MAX_LAYERS);
const positive = z.number().positive().finite();
const tokenId = z.int().min(0).max(MAX_DIMENSION);

/** The keys that decide behaviour. What has a default here is absent from published configs. */
export const schema = z.object({
  vocab_size: dimension,
  hidden_size: dimension,
  intermediate_size: dimension,
  moe_intermediate_size: dimension,
  num_hidden_layers: z.int().min(1).max(MAX_LAYERS),
  first_k_dense_replace: count,
  moe_layer_freq: z.int().min(1).max(MAX_LAYERS).default(1),
  num_attention_heads: z.int().min(1).max(MAX_LAYERS),
  num_key_value_heads: z.int().min(1).max(MAX_LAYERS).optional(),
  head_dim: dimension.optional(),
  qk_head_dim: dimension.optional(),
  q_lora_rank: dimension.nullable(),
  kv_lora_rank: dimension,
  qk_nope_head_dim: dimension,
  qk_rope_head_dim: dimension,
  v_head_dim: dimension,
  n_routed_experts: z.int().min(1).max(MAX_EXPERTS),
  num_local_experts: z.int().optional(),
  n_shared_experts: count.nullable(),
  num_experts_per_tok: z.int().min(1).max(MAX_EXPERTS),
  n_group: z.int().min(1).max(MAX_EXPERTS),
  topk_group: z.int().min(1).max(MAX_EXPERTS),
  topk_method: z.string(),
  scoring_func: z.string(),
  norm_topk_prob: z.boolean(),
  routed_scaling_factor: positive,
  rope_theta: positive.optional(),
  rope_scaling: z.unknown().optional(),
  rope_parameters: z.unknown().optional(),
  rope_interleave: z.boolean().optional(),
  max_position_embeddings: z
    .int()
    .min(1)
    .max(1 << 24),
  rms_norm_eps: positive,
  hidden_act: z.string(),
  attention_bias: z.boolean().default(false),
  mlp_bias: z.boolean().default(false),
  tie_word_embeddings: z.boolean().default(false),
  num_nextn_predict_layers: count.default(0),
  quantization_config: z.unknown().optional(),
  bos_token_id: tokenId,
  eos_token_id: z.union([tokenId, z.array(tokenId).min(1).max(64)]),
});

type Raw = z.infer<typeof schema>;

/** Keys that say nothing about inference: training, bookkeeping, how another program should run the model. */
export const ignoredKeys: ReadonlySet<string> = new Set([
  'architectures',
  'model_type',
  'attention_dropout',
  'auto_map',
  'aux_loss_alpha',
  'dtype',
  'ep_size',
  'initializer_range',
  'output_router_logits',
  'pad_token_id',
  'pretraining_tp',
  'router_aux_loss_coef',
  'seq_aux',
  'torch_dtype',
  'transformers_version',
  'use_cache',
  '_name_or_path',
]);

/** Check the keys against each other and translate them. `where` names the file in errors. */
export function toConfig(raw: Raw, where: string): ModelConfig {
  refuseUnsupported(raw, where);
  const ropeTheta = readRopeTheta(raw, where);
  refuseContradictions(raw, where);
  return {
    modelType: 'deepseek_v3',
    vocabSize: raw.vocab_size,
    hiddenSize: raw.hidden_size,
    intermediateSize: raw.intermediate_size,
    moeIntermediateSize: raw.moe_intermediate_size,
    numHiddenLayers: raw.num_hidden_layers,
    firstKDenseReplace: raw.first_k_dense_replace,
    moeLayerFreq: raw.moe_layer_freq,
    numAttentionHeads: raw.num_attention_heads,
    qLoraRank: raw.q_lora_rank,
    kvLoraRank: raw.kv_lora_rank,
    qkNopeHeadDim: raw.qk_nope_head_dim,
    qkRopeHeadDim: raw.qk_rope_head_dim,
    vHeadDim: raw.v_head_dim,
    nRoutedExperts: raw.n_routed_experts,
    nSharedExperts: raw.n_shared_experts ?? 0,
    numExpertsPerTok: raw.num_experts_per_tok,
    nGroup: raw.n_group,
    topkGroup: raw.topk_group,
    topkMethod: 'noaux_tc',
    scoringFunc: 'sigmoid',
    normTopkProb: raw.norm_topk_prob,
    routedScalingFactor: raw.routed_scaling_factor,
    ropeTheta,
    maxPositionEmbeddings: raw.max_position_embeddings,
    rmsNormEps: raw.rms_norm_eps,
    hiddenAct: 'silu',
    tieWordEmbeddings: raw.tie_word_embeddings,
    numNextnPredictLayers: raw.num_nextn_predict_layers,
    bosTokenId: raw.bos_token_id,
    eosTokenIds: typeof raw.eos_token_id === 'number' ? [raw.eos_token_id] : raw.eos_token_id,
  };
}

function refuseUnsupported(raw: Raw, where: string): void {
  const unsupported = (key: string, detail: string) => new ModelError('unsupported', key, `${where}: ${key} ${detail}`);
  const only = (key: 'topk_method' | 'scoring_func' | 'hidden_act', value: string) => {
    if (raw[key] !== value) throw unsupported(key, `is "${raw[key]}"; this version computes only "${value}"`);
  };
  only('topk_method', 'noaux_tc');
  only('scoring_func', 'sigmoid');
  only('hidden_act', 'silu');
  for (const key of ['attention_bias', 'mlp_bias'] as const) {
    if (raw[key]) throw unsupported(key, 'is true; this version computes projections without a bias only');
  }
  if (raw.rope_scaling !== undefined && raw.rope_scaling !== null) {
    throw unsupported('rope_scaling', 'is set; this version computes unscaled RoPE only: use a model where it is null');
  }
  if (raw.quantization_config !== undefined && raw.quantization_config !== null) {
    throw unsupported(
      'quantization_config',
      'is set; this version reads BF16, F16 and F32 weights: convert the checkpoint to BF16 first',
    );
  }
  if (raw.rope_interleave === false) {
    throw unsupported(
      'rope_interleave',
      'is false; DeepSeek checkpoints rotate interleaved pairs, and only that is computed',
    );
  }
  if (raw.num_nextn_predict_layers > 1) {
    throw unsupported(
      'num_nextn_predict_layers',
      `is ${raw.num_nextn_predict_layers}; at most one MTP module is computed`,
    );
  }
}

const ropeParameters = z.strictObject({
  rope_type: z.literal('default').optional(),
  type: z.literal('default').optional(),
  rope_theta: positive.optional(),
});

/** `rope_theta` stands at the top in published checkpoints, and in `rope_parameters` where newer tools wrote the file. */
function readRopeTheta(raw: Raw, where: string): number {
  let nested: number | undefined;
  if (raw.rope_parameters !== undefined && raw.rope_parameters !== null) {
    const parsed = ropeParameters.safeParse(raw.rope_parameters);
    if (!parsed.success) {
      throw new ModelError(
        'unsupported',
        'rope_parameters',
        `${where}: rope_parameters asks for more than unscaled RoPE ({"rope_type": "default", "rope_theta": …}), which is all this version computes`,
      );
    }
    nested = parsed.data.rope_theta;
  }
  if (nested !== undefined && raw.rope_theta !== undefined && nested !== raw.rope_theta) {
    throw contradiction(where, 'rope_theta', `${raw.rope_theta} but rope_parameters.rope_theta is ${nested}: keep one`);
  }
  const theta = raw.rope_theta ?? nested;
  if (theta === undefined) {
    throw new ModelError(
      'missing-key',
      'rope_theta',
      `${where}: rope_theta is missing: add it as in the published config`,
    );
  }
  return theta;
}

function contradiction(where: string, key: string, detail: string): ModelError {
  return new ModelError('contradiction', key, `${where}: ${key} is ${detail}`);
}

function refuseContradictions(raw: Raw, where: string): void {
  const refuse = (wrong: boolean, key: keyof Raw & string, detail: string) => {
    if (wrong) throw contradiction(where, key, `${JSON.stringify(raw[key])} but ${detail}`);
  };
  const groupSize = raw.n_routed_experts / raw.n_group;
  refuse(
    raw.n_routed_experts % raw.n_group !== 0,
    'n_group',
    `n_routed_experts ${raw.n_routed_experts} is not a multiple of it`,
  );
  refuse(raw.topk_group > raw.n_group, 'topk_group', `n_group is only ${raw.n_group}`);
  refuse(
    raw.num_experts_per_tok > raw.topk_group * groupSize,
    'num_experts_per_tok',
    `topk_group ${raw.topk_group} groups of ${groupSize} experts hold only ${raw.topk_group * groupSize}`,
  );
  refuse(
    raw.n_group > 1 && groupSize < 2,
    'n_group',
    'a group is scored by the sum of its best two experts, and a group would have only one: set n_group to 1 to disable groups',
  );
  refuse(
    raw.num_local_experts !== undefined && raw.num_local_experts !== raw.n_routed_experts,
    'num_local_experts',
    `n_routed_experts is ${raw.n_routed_experts}`,
  );
  refuse(
    raw.first_k_dense_replace > raw.num_hidden_layers,
    'first_k_dense_replace',
    `num_hidden_layers is ${raw.num_hidden_layers}`,
  );
  refuse(raw.qk_rope_head_dim % 2 !== 0, 'qk_rope_head_dim', 'RoPE rotates pairs: it must be even');
  refuse(
    raw.num_key_value_heads !== undefined && raw.num_key_value_heads !== raw.num_attention_heads,
    'num_key_value_heads',
    `latent attention expands keys for each of the ${raw.num_attention_heads} num_attention_heads: the two must be equal`,
  );
  const qkHeadDim = raw.qk_nope_head_dim + raw.qk_rope_head_dim;
  refuse(
    raw.qk_head_dim !== undefined && raw.qk_head_dim !== qkHeadDim,
    'qk_head_dim',
    `qk_nope_head_dim + qk_rope_head_dim is ${qkHeadDim}`,
  );
  refuse(
    raw.head_dim !== undefined && raw.head_dim !== qkHeadDim && raw.head_dim !== raw.qk_rope_head_dim,
    'head_dim',
    `neither qk_rope_head_dim (${raw.qk_rope_head_dim}) nor qk_nope_head_dim + qk_rope_head_dim (${qkHeadDim}): remove it`,
  );
  refuse(
    raw.num_nextn_predict_layers > 0 && raw.num_hidden_layers % raw.moe_layer_freq !== 0,
    'moe_layer_freq',
    'the MTP module after num_hidden_layers layers would be no MoE layer',
  );
  refuse(raw.bos_token_id >= raw.vocab_size, 'bos_token_id', `vocab_size is ${raw.vocab_size}`);
  const eos = typeof raw.eos_token_id === 'number' ? [raw.eos_token_id] : raw.eos_token_id;
  refuse(
    eos.some((id) => id >= raw.vocab_size),
    'eos_token_id',
    `vocab_size is ${raw.vocab_size}`,
  );
}

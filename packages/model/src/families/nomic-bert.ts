import { z } from 'zod';
import { ModelError } from '../errors.ts';
import type { GqaConfig, LayerKind, ModelConfig } from '../model-config.ts';
import { expertPart } from './expert-names.ts';
import {
  dimension,
  expertCount,
  type Family,
  fullAttention,
  headCount,
  MAX_LAYERS,
  positive,
  refuse,
  type StoredAt,
  unsupported,
} from './family.ts';
import { softmaxGate } from './gates.ts';
import { plainAttention } from './gqa.ts';
import { ropeConfig } from './rope-keys.ts';

/** Keys of which one value is computed; null counts as false. */
const FIXED: readonly (readonly [key: string, value: boolean | number | string])[] = [
  ['activation_function', 'gelu'],
  ['add_pooling_layer', false],
  ['causal', false],
  ['expert_choice_router', false],
  ['ffn_div', 1],
  ['moe_normalize_expert_weights', false],
  ['num_shared_experts', 0],
  ['parallel_block', false],
  ['prenorm', false],
  ['rotary_emb_scale_base', false],
  ['rotary_scaling_factor', false],
  ['scale_attn_by_inverse_layer_idx', false],
  ['scale_attn_weights', true],
  ['use_rms_norm', false],
];

const fixedKeys = Object.fromEntries(FIXED.map(([key, value]) => [key, z.unknown().default(value)]));

const schema = z.object({
  ...fixedKeys,
  n_embd: dimension,
  n_head: headCount,
  n_inner: dimension,
  n_layer: z.int().min(1).max(MAX_LAYERS),
  n_positions: z
    .int()
    .min(1)
    .max(1 << 24),
  vocab_size: dimension,
  pad_vocab_size_multiple: z.int().min(1).max(4096).default(1),
  type_vocab_size: z.int().min(0).max(MAX_LAYERS),
  layer_norm_epsilon: positive,
  qkv_proj_bias: z.boolean(),
  mlp_fc1_bias: z.boolean(),
  mlp_fc2_bias: z.boolean(),
  rotary_emb_base: positive,
  rotary_emb_fraction: z.number().positive().max(1),
  rotary_emb_interleaved: z.boolean(),
  moe_every_n_layers: z.int().min(0).max(MAX_LAYERS).default(0),
  moe_top_k: expertCount,
  num_experts: z.int().min(0).max(0xffff),
});

type Raw = z.infer<typeof schema>;

/**
 * nomic-embed-text-v2-moe (paper 2502.07972; `modeling_hf_nomic_bert.py` of nomic-bert-2048): an encoder of which every
 * `moe_every_n_layers`-th layer, from that of index 1 on, has experts.
 */
export const nomicBert: Family<typeof schema> = {
  modelType: 'nomic_bert',
  architectures: ['NomicBertModel'],
  schema,
  ignoredKeys: [
    'attn_pdrop',
    'bos_token_id',
    'dense_seq_output',
    'eos_token_id',
    'fused_bias_fc',
    'fused_dropout_add_ln',
    'max_trained_positions',
    'moe_impl',
    'moe_resid_pdrop',
    'parallel_block_tied_norm',
    'summary_activation',
    'summary_first_dropout',
    'summary_proj_to_labels',
    'summary_type',
    'summary_use_proj',
    'use_flash_attn',
    'use_xentropy',
  ],
  storedAt,
  toConfig,
};

function toConfig(raw: Raw, where: string): ModelConfig {
  for (const [key, value] of FIXED) {
    const given = (raw as Record<string, unknown>)[key] ?? false;
    if (given !== value) {
      throw unsupported(where, key, `is ${JSON.stringify(given)}; this version computes only ${JSON.stringify(value)}`);
    }
  }
  const layerKinds = kindsOf(raw, where);
  refuse(raw, where, raw.moe_top_k > raw.num_experts, 'moe_top_k', `num_experts is only ${raw.num_experts}`);
  const multiple = raw.pad_vocab_size_multiple;
  const attention = attentionOf(raw, where);
  const rotated = attention.headDim * raw.rotary_emb_fraction;
  refuse(raw, where, rotated % 2 !== 0, 'rotary_emb_fraction', `that would rotate ${rotated} values of a head`);
  return {
    modelType: 'nomic_bert',
    vocabSize: Math.ceil(raw.vocab_size / multiple) * multiple,
    hiddenSize: raw.n_embd,
    intermediateSize: raw.n_inner,
    moeIntermediateSize: raw.n_inner,
    sharedIntermediateSize: 0,
    sharedExpertGate: false,
    expert: { activation: 'gelu', bias: false },
    numHiddenLayers: raw.n_layer,
    layerKinds,
    layerAttention: fullAttention(raw.n_layer),
    nRoutedExperts: raw.num_experts,
    numExpertsPerTok: raw.moe_top_k,
    attention,
    rope: ropeConfig(
      { theta: raw.rotary_emb_base, scaling: undefined, partialRotaryFactor: undefined },
      rotated,
      raw.rotary_emb_interleaved ? 'interleaved' : 'halves',
    ),
    gate: softmaxGate({ normTopkProb: false }),
    maxPositionEmbeddings: raw.n_positions,
    rmsNormEps: raw.layer_norm_epsilon,
    tieWordEmbeddings: true,
    embeddingMultiplier: 1,
    residualMultiplier: 1,
    logitsDivisor: 1,
    numNextnPredictLayers: 0,
    mtpHidden: 'after-norm',
    bosTokenId: null,
    eosTokenIds: [],
    quantisation: null,
    encoder: { ffnBias: { up: raw.mlp_fc1_bias, down: raw.mlp_fc2_bias }, tokenTypes: raw.type_vocab_size },
  };
}

function kindsOf(
  { n_layer: layers, moe_every_n_layers: every, num_experts: experts }: Raw,
  where: string,
): LayerKind[] {
  const kinds = Array.from({ length: layers }, (_, layer): LayerKind => (layer % every === 1 ? 'moe' : 'dense'));
  if (experts > 0 && kinds.includes('moe')) return kinds;
  const problem = `${where}: num_experts is ${experts} and moe_every_n_layers ${every}, so no layer has routed experts`;
  throw new ModelError('unsupported', 'num_experts', `${problem} that tabs could hold: give nomic-embed-text-v2-moe`);
}

function attentionOf(raw: Raw, where: string): GqaConfig {
  const { n_embd: hiddenSize, n_head: heads, qkv_proj_bias: bias } = raw;
  const headDim = hiddenSize / heads;
  refuse(raw, where, !Number.isInteger(headDim), 'n_head', `n_embd ${hiddenSize} is not a multiple of it`);
  return plainAttention(heads, headDim, bias, 1 / Math.sqrt(headDim));
}

const NAMES: readonly [RegExp, string][] = [
  [/^model\.embed_tokens\./, 'embeddings.word_embeddings.'],
  [/^model\.embed_norm\./, 'emb_ln.'],
  [/^model\.layers\./, 'encoder.layers.'],
  [/\.self_attn\.o_proj\./, '.attn.out_proj.'],
  [/\.attention_norm\./, '.norm1.'],
  [/\.ffn_norm\./, '.norm2.'],
  [/\.mlp\.up_proj\./, '.mlp.fc1.'],
  [/\.mlp\.down_proj\./, '.mlp.fc2.'],
  [/\.mlp\.gate\./, '.mlp.router.layer.'],
];

/**
 * Queries, keys and values are one matrix. A layer's experts are two matrices whose rows are all experts' hidden values, so that
 * the second is stored as [inputs, outputs].
 */
function storedAt(name: string, { encoder, hiddenSize, nRoutedExperts }: ModelConfig): StoredAt {
  if (name === 'model.embed_token_types.weight') {
    return { name: 'embeddings.token_type_embeddings.weight', index: 0, of: encoder?.tokenTypes ?? 1 };
  }
  const renamed = NAMES.reduce((now, [pattern, by]) => now.replace(pattern, by), name);
  const part = /^(.*)\.self_attn\.([qkv])_proj\.(\w+)$/.exec(renamed);
  if (part) {
    const [, layer, which, kind] = part;
    return {
      name: `${layer}.attn.Wqkv.${kind}`,
      rows: { first: 'qkv'.indexOf(which!) * hiddenSize, step: 1, parts: 3 },
    };
  }
  const expert = expertPart(renamed);
  if (!expert) return { name: renamed };
  const isDown = expert.part === 'down';
  const stored = `${expert.layer}mlp.experts.mlp.${isDown ? 'w2' : 'w1'}`;
  return { name: stored, index: expert.expert, of: nRoutedExperts, flat: true, ...(isDown && { transposed: true }) };
}

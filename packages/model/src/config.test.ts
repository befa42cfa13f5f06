import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { parseModelConfig } from './config.ts';
import { moeLayers } from './model-config.ts';
import { ModelError, type ModelErrorReason } from './errors.ts';

const path = join(import.meta.dirname, '../../../models/tiny-stories/config.json');
const tiny = JSON.parse(readFileSync(path, 'utf8')) as Record<string, unknown>;

const fp8 = { quant_method: 'fp8', weight_block_size: [128, 128] };
const yarn = { type: 'yarn', factor: 40, original_max_position_embeddings: 4096 };
const longrope = { type: 'longrope', short_factor: [1], long_factor: [1], attention_factor: 1 };

const FULL = { span: { kind: 'full' }, rope: true };
const WINDOW = { span: { kind: 'window', positions: 4096 }, rope: true };
const CHUNKED = 'chunked_attention';
const full = (layers: number) => Array.from({ length: layers }, () => FULL);
const sparse = (layers: number) => Array.from({ length: layers }, () => 'sparse');

/** The default model's config with some keys changed; undefined removes one. */
function changed(changes: Record<string, unknown>): Record<string, unknown> {
  const json: Record<string, unknown> = { ...tiny, ...changes };
  for (const [key, value] of Object.entries(changes)) if (value === undefined) delete json[key];
  return json;
}

function refusal(json: unknown): { reason: ModelErrorReason; key: string | undefined; message: string } {
  try {
    parseModelConfig(json, 'here/config.json');
  } catch (error) {
    if (error instanceof ModelError) return error;
    throw error;
  }
  throw new Error('was accepted');
}

describe('parseModelConfig', () => {
  it('reads the default model', () => {
    const config = parseModelConfig(tiny);
    expect(config).toMatchObject({
      modelType: 'deepseek_v3',
      hiddenSize: 192,
      attention: { kind: 'mla', qLoraRank: 96 },
    });
    expect(config.rope.inverseFrequencies[1]).toBe(10000 ** (-2 / 16));
    expect(config.eosTokenIds).toEqual([0]);
    expect(moeLayers(config)).toEqual([1, 2, 3, 4, 5]);
  });

  it('takes the keys that DeepSeek-V3 publishes and inference ignores', () => {
    const published = {
      aux_loss_alpha: 0.001,
      attention_dropout: 0.0,
      auto_map: { AutoConfig: 'configuration_deepseek.DeepseekV3Config' },
      initializer_range: 0.02,
      pretraining_tp: 1,
      seq_aux: true,
      transformers_version: '4.33.1',
    };
    expect(parseModelConfig(changed(published))).toEqual(parseModelConfig(tiny));
  });

  it.each<[string, Record<string, unknown>, Record<string, unknown>]>([
    ['a list of end tokens', { eos_token_id: [0, 3] }, { eosTokenIds: [0, 3] }],
    ['queries without a latent', { q_lora_rank: null }, { attention: { qLoraRank: null } }],
    ['tied embeddings', { tie_word_embeddings: true }, { tieWordEmbeddings: true }],
    ['no shared expert', { n_shared_experts: null }, { sharedIntermediateSize: 0 }],
    ['no MTP module', { num_nextn_predict_layers: undefined }, { numNextnPredictLayers: 0 }],
    [
      'rope_parameters',
      { rope_theta: undefined, rope_parameters: { rope_type: 'default', rope_theta: 5000 } },
      { rope: { inverseFrequencies: Float64Array.from({ length: 8 }, (_, i) => 5000 ** (-i / 8)) } },
    ],
    ['head_dim as newer tools write it', { head_dim: 16, qk_head_dim: 48 }, { attention: { qkRopeHeadDim: 16 } }],
    [
      'FP8 blocks',
      { quantization_config: fp8 },
      { quantisation: { method: 'FP8', formats: [{ kind: 'fp8', scales: [128, 128] }], plainModules: [] } },
    ],
    ['the family’s own gate', { topk_method: undefined, scoring_func: undefined }, { gate: { scoring: 'sigmoid' } }],
    ['no begin-of-text token', { bos_token_id: null }, { bosTokenId: null }],
    ['one routing group', { n_group: 1, topk_group: 1 }, { gate: { nGroup: 1 } }],
    ['unknown keys that are off', { some_new_feature: false, another: null }, { hiddenSize: 192 }],
  ])('reads %s', (_, changes, expected) => {
    expect(parseModelConfig(changed(changes))).toMatchObject(expected);
  });

  it.each([
    'vocab_size',
    'hidden_size',
    'intermediate_size',
    'moe_intermediate_size',
    'num_hidden_layers',
    'first_k_dense_replace',
    'num_attention_heads',
    'q_lora_rank',
    'kv_lora_rank',
    'qk_nope_head_dim',
    'qk_rope_head_dim',
    'v_head_dim',
    'n_routed_experts',
    'n_shared_experts',
    'num_experts_per_tok',
    'n_group',
    'topk_group',
    'norm_topk_prob',
    'routed_scaling_factor',
    'rope_theta',
    'max_position_embeddings',
    'rms_norm_eps',
    'hidden_act',
    'eos_token_id',
    'model_type',
    'architectures',
  ])('names %s when it is missing', (key) => {
    const error = refusal(changed({ [key]: undefined }));
    expect(error).toMatchObject({ reason: 'missing-key', key });
    expect(error.message).toContain(`here/config.json: ${key} `);
  });

  it.each<[ModelErrorReason, string, Record<string, unknown>]>([
    ['unknown-architecture', 'model_type', { model_type: 'mistral' }],
    ['unknown-architecture', 'model_type', { model_type: 'constructor' }],
    ['unknown-architecture', 'model_type', { model_type: 3 }],
    ['unknown-architecture', 'architectures', { architectures: ['DeepseekV2ForCausalLM'] }],
    ['unknown-architecture', 'architectures', { architectures: [] }],
    ['bad-value', 'hidden_size', { hidden_size: '192' }],
    ['bad-value', 'hidden_size', { hidden_size: 0 }],
    ['bad-value', 'hidden_size', { hidden_size: 191.5 }],
    ['bad-value', 'vocab_size', { vocab_size: 1e12 }],
    ['bad-value', 'num_hidden_layers', { num_hidden_layers: 1e6 }],
    ['bad-value', 'num_hidden_layers', { num_hidden_layers: 1024, n_routed_experts: 256 }],
    ['bad-value', 'n_routed_experts', { n_routed_experts: 65536 }],
    ['bad-value', 'rms_norm_eps', { rms_norm_eps: -1 }],
    ['bad-value', 'q_lora_rank', { q_lora_rank: 0 }],
    ['bad-value', 'norm_topk_prob', { norm_topk_prob: 'yes' }],
    ['bad-value', 'eos_token_id', { eos_token_id: [] }],
    ['missing-key', 'eos_token_id', { eos_token_id: null }],
    ['missing-key', 'hidden_size', { hidden_size: null }],
    ['bad-value', 'rms_norm_eps', { rms_norm_eps: Number.NaN }],
    ['bad-value', 'rms_norm_eps', { rms_norm_eps: Infinity }],
    ['contradiction', 'n_group', { n_group: 5, topk_group: 3 }],
    ['contradiction', 'n_group', { n_group: 32, topk_group: 8 }],
    ['contradiction', 'topk_group', { topk_group: 9 }],
    ['contradiction', 'num_experts_per_tok', { num_experts_per_tok: 13 }],
    ['contradiction', 'num_local_experts', { num_local_experts: 8 }],
    ['contradiction', 'first_k_dense_replace', { first_k_dense_replace: 7 }],
    ['contradiction', 'qk_rope_head_dim', { qk_rope_head_dim: 15 }],
    ['contradiction', 'num_key_value_heads', { num_key_value_heads: 2 }],
    ['contradiction', 'head_dim', { head_dim: 64 }],
    ['contradiction', 'qk_head_dim', { qk_head_dim: 64 }],
    ['contradiction', 'moe_layer_freq', { moe_layer_freq: 4 }],
    ['contradiction', 'bos_token_id', { bos_token_id: 2048 }],
    ['contradiction', 'eos_token_id', { eos_token_id: [0, 2048] }],
    ['contradiction', 'rope_theta', { rope_parameters: { rope_theta: 5000 } }],
    ['unsupported', 'rope_parameters', { rope_parameters: { rope_type: 'longrope', factor: 40 } }],
    ['unsupported', 'rope_scaling', { rope_scaling: { ...longrope, long_factor: [2] } }],
    ['contradiction', 'rope_scaling', { rope_scaling: longrope }],
    ['unsupported', 'rope_scaling', { rope_scaling: { type: 'su', factor: 40 } }],
    ['unsupported', 'rope_scaling', { rope_scaling: { ...yarn, short_factor: [1] } }],
    ['bad-value', 'rope_scaling', { rope_scaling: { type: 'yarn', factor: 40 } }],
    ['bad-value', 'rope_scaling', { rope_scaling: { ...yarn, factor: 0 } }],
    ['bad-value', 'rope_scaling', { rope_scaling: 40 }],
    ['contradiction', 'rope_scaling', { rope_scaling: { ...yarn, rope_type: 'default' } }],
    ['contradiction', 'rope_scaling', { rope_scaling: yarn, rope_parameters: { ...yarn, factor: 4 } }],
    ['unsupported', 'rope_interleave', { rope_interleave: false }],
    [
      'unsupported',
      'quantization_config',
      { quantization_config: { quant_method: 'bitsandbytes', load_in_4bit: true } },
    ],
    ['bad-value', 'quantization_config', { quantization_config: { quant_method: 'gptq', bits: 4 } }],
    ['unsupported', 'quantization_config', { quantization_config: { ...fp8, fmt: 'e5m2' } }],
    ['unsupported', 'quantization_config', { quantization_config: { ...fp8, rotation: 'hadamard' } }],
    ['bad-value', 'quantization_config', { quantization_config: { ...fp8, weight_block_size: [128] } }],
    ['unsupported', 'attention_bias', { attention_bias: true }],
    ['unsupported', 'mlp_bias', { mlp_bias: true }],
    ['unsupported', 'hidden_act', { hidden_act: 'gelu' }],
    ['unsupported', 'scoring_func', { scoring_func: 'softmax' }],
    ['unsupported', 'topk_method', { topk_method: 'greedy' }],
    ['unsupported', 'num_nextn_predict_layers', { num_nextn_predict_layers: 2 }],
    ['unknown-key', 'sliding_window', { sliding_window: 4096 }],
  ])('refuses (%s) by the name of %s: %j', (reason, key, changes) => {
    const error = refusal(changed(changes));
    expect(error).toMatchObject({ reason, key });
    expect(error.message).toContain(key);
  });

  it.each([[null], [[]], ['text'], [7]])('refuses %j, which is no configuration', (json) => {
    expect(refusal(json)).toMatchObject({ reason: 'bad-json' });
  });

  it('places MoE layers by first_k_dense_replace and moe_layer_freq', () => {
    const every = parseModelConfig(changed({ moe_layer_freq: 2, num_nextn_predict_layers: 0 }));
    expect(moeLayers(every)).toEqual([2, 4]);
    expect(moeLayers(parseModelConfig(changed({ first_k_dense_replace: 6 })))).toEqual([]);
  });
});

/** A published config with some keys changed; undefined removes one. */
function publishedWith(name: string, changes: Record<string, unknown>): Record<string, unknown> {
  const file = join(import.meta.dirname, 'testing/published-configs', `${name}.json`);
  const json = { ...(JSON.parse(readFileSync(file, 'utf8')) as Record<string, unknown>), ...changes };
  for (const [key, value] of Object.entries(changes)) if (value === undefined) delete json[key];
  return json;
}

/** Keys of YaRN that tools write without a value. */
const yarnNulls = { original_max_position_embeddings: 32768, beta_fast: null, mscale: null, truncate: null };

describe('the other families', () => {
  it.each<[string, Record<string, unknown>, Record<string, unknown>]>([
    ['DeepSeek-V2', { norm_topk_prob: true }, { gate: { normTopkProb: true, scaleWhenNormalised: false } }],
    ['DeepSeek-V2', { topk_method: 'greedy' }, { gate: { nGroup: 1, topkGroup: 1 } }],
    ['DeepSeek-V2-Lite', { norm_topk_prob: true, num_experts_per_tok: 1 }, { gate: { normTopkProb: false } }],
    ['DeepSeek-V2-Lite', { n_group: null, topk_group: null }, { gate: { nGroup: 1 } }],
    ['Qwen3-30B-A3B', { num_experts: undefined, num_local_experts: 128 }, { nRoutedExperts: 128 }],
    ['Qwen3-30B-A3B', { sliding_window: 4096, use_sliding_window: false }, { maxPositionEmbeddings: 40960 }],
    [
      'Qwen3-30B-A3B',
      { num_hidden_layers: 4, decoder_sparse_step: 2 },
      { layerKinds: ['dense', 'moe', 'dense', 'moe'] },
    ],
    ['Qwen3-30B-A3B', { num_hidden_layers: 3, mlp_only_layers: [1] }, { layerKinds: ['moe', 'dense', 'moe'] }],
    [
      'Qwen3-30B-A3B',
      { rope_scaling: { ...yarn, type: undefined, rope_type: 'yarn' } },
      { rope: { attentionFactor: 0.1 * Math.log(40) + 1 } },
    ],
    // As Qwen3-Coder-30B-A3B has it, and with what tools write as null.
    [
      'Qwen3-30B-A3B',
      {
        attention_bias: null,
        qkv_bias: false,
        use_qk_norm: true,
        shared_expert_intermediate_size: 0,
        mlp_only_layers: null,
      },
      { attention: { qkNorm: 'per-head' }, sharedIntermediateSize: 0 },
    ],
    [
      'DeepSeek-V3',
      { tie_word_embeddings: null, moe_layer_freq: null, head_dim: null, num_local_experts: null, rope_theta: 10000 },
      { tieWordEmbeddings: false },
    ],
    [
      'Qwen3-30B-A3B',
      {
        rope_theta: null,
        rope_scaling: { rope_type: 'yarn', type: null, factor: 4, rope_theta: 1e6, ...yarnNulls },
      },
      { rope: { attentionFactor: 0.1 * Math.log(4) + 1 } },
    ],
    ['OLMoE-1B-7B-0924', { clip_qkv: 8 }, { attention: { clipQkv: 8 }, bosTokenId: null }],
    ['Mixtral-8x7B-v0.1', { sliding_window: 32768 }, { layerAttention: full(32) }],
    [
      'Mixtral-8x7B-v0.1',
      { sliding_window: 4096 },
      { layerAttention: Array.from({ length: 32 }, () => ({ span: { kind: 'window', positions: 4096 }, rope: true })) },
    ],
    // Kimi's other copies of a key are the text model's, and stand beside it where it has none.
    ['Kimi-K2.5', { tie_word_embeddings: true }, { tieWordEmbeddings: false }],
    ['Kimi-K2.5', { architectures: ['Kimi_K25ForConditionalGeneration'] }, { modelType: 'kimi_k25' }],
    ['GLM-4.5-Air', { partial_rotary_factor: undefined }, { rope: { dim: 64 } }],
    [
      'GLM-4.5-Air',
      {
        rope_theta: undefined,
        partial_rotary_factor: undefined,
        rope_parameters: { rope_type: 'default', rope_theta: 1e6, partial_rotary_factor: 0.25 },
      },
      { rope: { dim: 32 } },
    ],
    ['GLM-4.7-Flash', { first_k_dense_replace: undefined }, { layerKinds: { 0: 'dense', 1: 'moe', 47: 'moe' } }],
    ['MiniMax-M2.5', { rotary_dim: undefined, partial_rotary_factor: 0.5 }, { rope: { dim: 64 } }],
    ['gpt-oss-20b', { layer_types: undefined }, { layerAttention: { 0: { span: { positions: 128 } }, 1: FULL } }],
    ['dots.llm1.inst', { sliding_window: 4096, max_window_layers: 61 }, { layerAttention: { 60: FULL, 61: WINDOW } }],
    ['Hunyuan-A13B-Instruct', { attention_head_dim: undefined, head_dim: null }, { attention: { headDim: 128 } }],
    ['Hunyuan-A13B-Instruct', { moe_topk: 8, num_experts: 64 }, { numExpertsPerTok: 8, nRoutedExperts: 64 }],
    ['Mixtral-8x7B-v0.1', { head_dim: 64 }, { attention: { headDim: 64, softmaxScale: 0.125 } }],
  ])('%s with %j is read', (name, changes, expected) => {
    expect(parseModelConfig(publishedWith(name, changes))).toMatchObject(expected);
  });

  it.each<[string, ModelErrorReason, string, Record<string, unknown>]>([
    ['DeepSeek-V2', 'unsupported', 'topk_method', { topk_method: 'noaux_tc' }],
    ['DeepSeek-V2', 'unsupported', 'scoring_func', { scoring_func: 'sigmoid' }],
    ['DeepSeek-V2', 'missing-key', 'topk_method', { topk_method: undefined }],
    ['DeepSeek-V2', 'contradiction', 'n_group', { n_group: 7 }],
    ['Qwen3-30B-A3B', 'unsupported', 'use_sliding_window', { use_sliding_window: true, sliding_window: 4096 }],
    ['Qwen3-30B-A3B', 'unsupported', 'attention_bias', { attention_bias: true }],
    ['Qwen3-30B-A3B', 'missing-key', 'num_experts', { num_experts: undefined }],
    ['Qwen3-30B-A3B', 'missing-key', 'norm_topk_prob', { norm_topk_prob: undefined }],
    ['Qwen3-30B-A3B', 'contradiction', 'num_local_experts', { num_local_experts: 64 }],
    ['Qwen3-30B-A3B', 'contradiction', 'num_experts_per_tok', { num_experts_per_tok: 129 }],
    ['Qwen3-30B-A3B', 'contradiction', 'num_key_value_heads', { num_key_value_heads: 5 }],
    ['Qwen3-30B-A3B', 'contradiction', 'head_dim', { head_dim: 127 }],
    ['Qwen3-30B-A3B', 'unsupported', 'rope_scaling', { rope_scaling: { rope_type: 'dynamic', factor: 2 } }],
    ['Qwen3-30B-A3B', 'bad-value', 'shared_expert_intermediate_size', { shared_expert_intermediate_size: 5632 }],
    ['Qwen3-30B-A3B', 'bad-value', 'use_qk_norm', { use_qk_norm: false }],
    ['OLMoE-1B-7B-0924', 'unsupported', 'hidden_act', { hidden_act: 'gelu' }],
    ['OLMoE-1B-7B-0924', 'contradiction', 'num_attention_heads', { num_attention_heads: 15 }],
    ['OLMoE-1B-7B-0924', 'bad-value', 'clip_qkv', { clip_qkv: -1 }],
    ['gpt-oss-20b', 'bad-value', 'swiglu_limit', { swiglu_limit: 8 }],
    ['gpt-oss-20b', 'contradiction', 'experts_per_token', { experts_per_token: 8 }],
    ['gpt-oss-20b', 'contradiction', 'layer_types', { layer_types: ['full_attention'] }],
    [
      'gpt-oss-20b',
      'unsupported',
      'layer_types',
      { layer_types: Array.from({ length: 24 }, () => 'linear_attention') },
    ],
    [
      'gpt-oss-20b',
      'contradiction',
      'attention_chunk_size',
      { layer_types: Array.from({ length: 24 }, () => CHUNKED) },
    ],
    ['GLM-4.5', 'unsupported', 'num_nextn_predict_layers', { num_nextn_predict_layers: 2 }],
    ['GLM-4.5', 'contradiction', 'first_k_dense_replace', { first_k_dense_replace: 93 }],
    ['GLM-4.5', 'contradiction', 'n_group', { n_group: 7 }],
    ['GLM-4.5', 'contradiction', 'partial_rotary_factor', { partial_rotary_factor: 0.01 }],
    ['GLM-4.7-Flash', 'unsupported', 'partial_rotary_factor', { partial_rotary_factor: 0.5 }],
    ['GLM-4.7-Flash', 'contradiction', 'mlp_layer_types', { mlp_layer_types: ['dense'] }],
    ['GLM-4.7-Flash', 'contradiction', 'first_k_dense_replace', { mlp_layer_types: sparse(47) }],
    ['MiniMax-M2.5', 'unsupported', 'attn_type_list', { attn_type_list: Array.from({ length: 62 }, () => 0) }],
    ['MiniMax-M2.5', 'contradiction', 'rotary_dim', { partial_rotary_factor: 0.25 }],
    ['MiniMax-M2.5', 'bad-value', 'shared_intermediate_size', { shared_intermediate_size: 8192 }],
    ['Kimi-K2.5', 'missing-key', 'text_config', { text_config: undefined }],
    ['Kimi-K2.5', 'unknown-key', 'speech_config', { speech_config: { hidden_size: 2 } }],
    [
      'Llama-4-Scout-17B-16E-Instruct',
      'unknown-architecture',
      'architectures',
      { architectures: ['Llama4ForCausalLM'] },
    ],
    ['Qwen1.5-MoE-A2.7B', 'unsupported', 'use_sliding_window', { use_sliding_window: true }],
    ['granite-3.1-1b-a400m-instruct', 'unsupported', 'attention_bias', { attention_bias: true }],
    ['dots.llm1.inst', 'unsupported', 'scoring_func', { scoring_func: 'softmax' }],
    ['ERNIE-4.5-21B-A3B-PT', 'bad-value', 'compression_ratio', { compression_ratio: 2 }],
    ['ERNIE-4.5-21B-A3B-PT', 'contradiction', 'moe_k', { moe_k: 65 }],
    ['Hunyuan-A13B-Instruct', 'contradiction', 'moe_topk', { moe_topk: 65 }],
    ['Hunyuan-A13B-Instruct', 'unsupported', 'moe_topk', { moe_topk: [8, 4] }],
    ['Hunyuan-A13B-Instruct', 'contradiction', 'attention_head_dim', { head_dim: 64 }],
    ['Hunyuan-A13B-Instruct', 'unknown-key', 'use_cla', { use_cla: true }],
    ['Hunyuan-A13B-Instruct', 'unsupported', 'rope_scaling', { rope_scaling: { type: 'dynamic', factor: 2 } }],
    ['Mixtral-8x7B-v0.1', 'unsupported', 'partial_rotary_factor', { partial_rotary_factor: 0.5 }],
    [
      'Mixtral-8x7B-v0.1',
      'unknown-architecture',
      'architectures',
      { architectures: ['MixtralForSequenceClassification'] },
    ],
  ])('%s is refused (%s) by the name of %s: %j', (name, reason, key, changes) => {
    const error = refusal(publishedWith(name, changes));
    expect(error).toMatchObject({ reason, key });
    expect(error.message).toContain(`here/config.json: ${key} `);
    if (reason === 'unknown-key') expect(error.message).toContain('report it');
  });
});

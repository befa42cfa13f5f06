type Json = Record<string, unknown>;

/** 112 tokens, of which the fixtures' tokenizer marks two as ends of texts. */
const common: Json = {
  vocab_size: 112,
  hidden_size: 48,
  num_hidden_layers: 3,
  num_attention_heads: 4,
  num_key_value_heads: 2,
  num_experts_per_tok: 2,
  max_position_embeddings: 128,
  rms_norm_eps: 1e-5,
  hidden_act: 'silu',
  tie_word_embeddings: false,
  rope_parameters: { rope_type: 'default', rope_theta: 10_000 },
  bos_token_id: 0,
  eos_token_id: [1, 3],
};

const named = (architecture: string, modelType: string): Json => ({
  ...common,
  architectures: [architecture],
  model_type: modelType,
});

const deepseek: Json = {
  num_key_value_heads: 4,
  intermediate_size: 72,
  moe_intermediate_size: 20,
  first_k_dense_replace: 1,
  n_routed_experts: 8,
  n_shared_experts: 2,
  q_lora_rank: 28,
  kv_lora_rank: 20,
  qk_nope_head_dim: 12,
  qk_rope_head_dim: 8,
  v_head_dim: 10,
  routed_scaling_factor: 1.5,
};

const yarn = { rope_type: 'yarn', factor: 4, original_max_position_embeddings: 32, rope_theta: 10_000 };

const llama3 = { rope_type: 'llama3', original_max_position_embeddings: 64, rope_theta: 10_000 };

/** Without the key that a family has under another name. */
function without(key: string, json: Json): Json {
  return Object.fromEntries(Object.entries(json).filter(([name]) => name !== key));
}

/** A config for each of llama.cpp's architectures, with what GGUF can say. */
export const ggufConfigs: Record<string, Json> = {
  'deepseek2 of V2': {
    ...named('DeepseekV2ForCausalLM', 'deepseek_v2'),
    ...deepseek,
    topk_method: 'greedy',
    norm_topk_prob: false,
    // DeepSeek-V2-Lite publishes this number.
    // oxlint-disable-next-line oxc/approx-constant
    rope_parameters: { ...yarn, mscale: 0.707, mscale_all_dim: 0.707 },
  },
  'deepseek2 of V3': {
    ...named('DeepseekV3ForCausalLM', 'deepseek_v3'),
    ...deepseek,
    n_group: 4,
    topk_group: 2,
    norm_topk_prob: true,
    rope_parameters: { ...yarn, mscale: 1, mscale_all_dim: 1 },
  },
  qwen3moe: {
    ...named('Qwen3MoeForCausalLM', 'qwen3_moe'),
    head_dim: 16,
    intermediate_size: 72,
    moe_intermediate_size: 20,
    num_experts: 8,
    norm_topk_prob: true,
    rope_parameters: yarn,
    tie_word_embeddings: true,
  },
  olmoe: {
    ...named('OlmoeForCausalLM', 'olmoe'),
    num_key_value_heads: 4,
    intermediate_size: 20,
    num_experts: 8,
    norm_topk_prob: false,
  },
  llama: {
    ...named('MixtralForCausalLM', 'mixtral'),
    intermediate_size: 20,
    num_local_experts: 5,
  },
  qwen2moe: {
    ...named('Qwen2MoeForCausalLM', 'qwen2_moe'),
    intermediate_size: 72,
    moe_intermediate_size: 20,
    shared_expert_intermediate_size: 36,
    num_experts: 8,
    norm_topk_prob: false,
  },
  'gpt-oss': {
    ...named('GptOssForCausalLM', 'gpt_oss'),
    attention_bias: true,
    head_dim: 16,
    intermediate_size: 20,
    num_local_experts: 8,
    sliding_window: 16,
    layer_types: ['sliding_attention', 'full_attention', 'sliding_attention'],
    swiglu_limit: 7,
  },
  glm4moe: {
    ...named('Glm4MoeForCausalLM', 'glm4_moe'),
    attention_bias: true,
    use_qk_norm: true,
    head_dim: 16,
    rope_parameters: { rope_type: 'default', rope_theta: 10_000, partial_rotary_factor: 0.5 },
    intermediate_size: 72,
    moe_intermediate_size: 20,
    first_k_dense_replace: 1,
    n_routed_experts: 8,
    n_shared_experts: 1,
    n_group: 1,
    topk_group: 1,
    norm_topk_prob: true,
    routed_scaling_factor: 1.5,
    num_nextn_predict_layers: 1,
  },
  'minimax-m2': {
    ...named('MiniMaxM2ForCausalLM', 'minimax_m2'),
    head_dim: 16,
    rotary_dim: 8,
    intermediate_size: 20,
    num_local_experts: 8,
    use_qk_norm: true,
    qk_norm_type: 'per_layer',
    use_routing_bias: true,
    scoring_func: 'sigmoid',
  },
  granitemoe: {
    ...named('GraniteMoeForCausalLM', 'granitemoe'),
    intermediate_size: 20,
    num_local_experts: 8,
    attention_multiplier: 0.2,
    embedding_multiplier: 3,
    residual_multiplier: 0.4,
    logits_scaling: 2,
    tie_word_embeddings: true,
  },
  'hunyuan-moe': {
    ...without('num_experts_per_tok', named('HunYuanMoEV1ForCausalLM', 'hunyuan_v1_moe')),
    head_dim: 12,
    intermediate_size: 20,
    moe_intermediate_size: 20,
    num_experts: 8,
    moe_topk: 2,
    num_shared_expert: 1,
    use_mixed_mlp_moe: true,
    use_qk_norm: true,
    tie_word_embeddings: true,
  },
  'ernie4_5-moe': {
    ...without('num_experts_per_tok', named('Ernie4_5_MoeForCausalLM', 'ernie4_5_moe')),
    intermediate_size: 72,
    moe_intermediate_size: 20,
    moe_k: 2,
    moe_num_experts: 8,
    moe_num_shared_experts: 2,
    moe_layer_start_index: 1,
    moe_layer_end_index: 2,
    moe_layer_interval: 1,
    use_bias: false,
    tie_word_embeddings: true,
  },
  dots1: {
    ...named('Dots1ForCausalLM', 'dots1'),
    head_dim: 16,
    num_key_value_heads: 4,
    intermediate_size: 72,
    moe_intermediate_size: 20,
    first_k_dense_replace: 1,
    n_routed_experts: 8,
    n_shared_experts: 2,
    n_group: 1,
    topk_group: 1,
    norm_topk_prob: true,
    routed_scaling_factor: 1.5,
  },
  llama4: {
    architectures: ['Llama4ForConditionalGeneration'],
    model_type: 'llama4',
    text_config: {
      ...common,
      model_type: 'llama4_text',
      num_experts_per_tok: 1,
      head_dim: 16,
      intermediate_size: 20,
      intermediate_size_mlp: 72,
      num_local_experts: 8,
      interleave_moe_layer_step: 2,
      num_hidden_layers: 4,
      use_qk_norm: true,
      attention_chunk_size: 8192,
      // As of Scout, in a shorter text: the slower half of the pairs is slowed further.
      rope_parameters: { ...llama3, factor: 16, low_freq_factor: 1, high_freq_factor: 1 },
    },
  },
};

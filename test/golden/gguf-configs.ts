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
};

import { createRng, type ExpertDispatch, parseModelConfig, type TensorReader } from '@shoal/model';

/** Ragged in every dimension, with an MTP module. */
export const config = parseModelConfig({
  model_type: 'deepseek_v3',
  architectures: ['DeepseekV3ForCausalLM'],
  vocab_size: 53,
  hidden_size: 42,
  intermediate_size: 37,
  moe_intermediate_size: 9,
  num_hidden_layers: 4,
  first_k_dense_replace: 1,
  num_attention_heads: 3,
  q_lora_rank: 11,
  kv_lora_rank: 21,
  qk_nope_head_dim: 7,
  qk_rope_head_dim: 6,
  v_head_dim: 5,
  n_routed_experts: 6,
  n_shared_experts: 1,
  num_experts_per_tok: 2,
  n_group: 1,
  topk_group: 1,
  topk_method: 'noaux_tc',
  scoring_func: 'sigmoid',
  norm_topk_prob: true,
  routed_scaling_factor: 1,
  rope_theta: 100,
  max_position_embeddings: 200,
  rms_norm_eps: 1e-5,
  hidden_act: 'silu',
  tie_word_embeddings: true,
  num_nextn_predict_layers: 1,
  bos_token_id: 0,
  eos_token_id: 0,
});

/** Random weights, the same for a name. */
export const reader: TensorReader = {
  has: () => true,
  read: async (name, shape = []) => {
    const rng = createRng([...name].reduce((hash, char) => (hash * 31 + char.charCodeAt(0)) % 99_991, 7));
    const bias = name.includes('norm') ? 1 : 0;
    return Float32Array.from({ length: shape.reduce((a, b) => a * b, 1) }, () => bias + (rng() - 0.5) * 0.7);
  },
};

/** Routed experts that add half of the row, whoever is chosen. */
export const experts: ExpertDispatch = {
  dispatch: (call) => ({ combine: async () => call.x.map((value) => value / 2) }),
};

import type { ExpertDispatch } from '../dispatch.ts';
import type { TensorReader } from '../weights.ts';

export { smallNllb, smallSwitch } from './small-seq2seq.ts';

/** Small and ragged, so that a mixed-up dimension shows. */
export const smallConfigJson = {
  model_type: 'deepseek_v3',
  architectures: ['DeepseekV3ForCausalLM'],
  vocab_size: 11,
  hidden_size: 10,
  intermediate_size: 7,
  moe_intermediate_size: 3,
  num_hidden_layers: 2,
  first_k_dense_replace: 1,
  num_attention_heads: 3,
  q_lora_rank: null,
  kv_lora_rank: 5,
  qk_nope_head_dim: 4,
  qk_rope_head_dim: 6,
  v_head_dim: 3,
  n_routed_experts: 4,
  n_shared_experts: null,
  num_experts_per_tok: 2,
  n_group: 1,
  topk_group: 1,
  topk_method: 'noaux_tc',
  scoring_func: 'sigmoid',
  norm_topk_prob: true,
  routed_scaling_factor: 1,
  rope_theta: 100,
  max_position_embeddings: 96,
  rms_norm_eps: 1e-5,
  hidden_act: 'silu',
  tie_word_embeddings: true,
  num_nextn_predict_layers: 0,
  bos_token_id: 0,
  eos_token_id: 0,
};

/** Reproducible weights for any name and shape; norms near 1. */
export const smallWeights: TensorReader = {
  read: ({ name, shape }) => {
    const length = shape.reduce((a, b) => a * b, 1);
    const seed = [...name].reduce((hash, char) => (hash * 31 + char.charCodeAt(0)) % 9973, 7);
    const values = Float32Array.from(
      { length },
      (_, i) => Math.sin(seed + i * 12.9898) * 0.8 + (name.includes('norm') ? 1 : 0),
    );
    return Promise.resolve(values);
  },
};

/** Routed experts that add nothing. */
export const noExperts: ExpertDispatch = {
  dispatch: (call) => ({ combine: () => Promise.resolve(new Float32Array(call.x.length)) }),
};

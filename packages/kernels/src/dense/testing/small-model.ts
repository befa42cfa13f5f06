import { createRng, type ExpertDispatch, parseModelConfig, type TensorReader } from '@shoal/model';
import { smallConfigJson } from '@shoal/model/testing';

/** Ragged in every dimension, with an MTP module. */
export const config = parseModelConfig({
  ...smallConfigJson,
  vocab_size: 53,
  hidden_size: 42,
  intermediate_size: 37,
  moe_intermediate_size: 9,
  num_hidden_layers: 4,
  q_lora_rank: 11,
  kv_lora_rank: 21,
  qk_nope_head_dim: 7,
  v_head_dim: 5,
  n_routed_experts: 6,
  n_shared_experts: 1,
  max_position_embeddings: 200,
  num_nextn_predict_layers: 1,
});

/** Random weights, the same for a name. */
export const reader: TensorReader = {
  read: async ({ name, shape }) => {
    const rng = createRng([...name].reduce((hash, char) => (hash * 31 + char.charCodeAt(0)) % 99_991, 7));
    const bias = name.includes('norm') ? 1 : 0;
    return Float32Array.from({ length: shape.reduce((a, b) => a * b, 1) }, () => bias + (rng() - 0.5) * 0.7);
  },
};

/** Routed experts that add half of the row, whichever are chosen. */
export const experts: ExpertDispatch = {
  dispatch: (call) => ({ combine: async () => call.x.map((value) => value / 2) }),
};

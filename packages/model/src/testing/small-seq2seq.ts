import { nllbMoe54b, switchBase } from './published-models/seq2seq-configs.ts';

const common = { vocab_size: 53, d_model: 42, num_experts: 4 };

/** Ragged, and with fewer places in an expert than sources have tokens. */
export const smallSwitch = {
  ...switchBase(4),
  ...common,
  d_kv: 10,
  d_ff: 37,
  num_heads: 3,
  num_layers: 3,
  num_decoder_layers: 4,
  num_sparse_encoder_layers: 1,
  num_sparse_decoder_layers: 2,
  expert_capacity: 5,
  relative_attention_num_buckets: 8,
  relative_attention_max_distance: 12,
  n_positions: 100,
};

export const smallNllb = {
  ...nllbMoe54b,
  ...common,
  encoder_layers: 3,
  num_hidden_layers: 3,
  decoder_layers: 4,
  encoder_ffn_dim: 37,
  decoder_ffn_dim: 37,
  encoder_attention_heads: 3,
  decoder_attention_heads: 3,
  encoder_sparse_step: 2,
  decoder_sparse_step: 2,
  max_position_embeddings: 100,
  moe_eval_capacity_token_fraction: 0.4,
};

import { smallConfigJson as ragged } from '@shoal/model/testing';

/** config.json of a model small enough to be computed by hand; tests change what they need. */
export const smallConfigJson = {
  ...ragged,
  vocab_size: 17,
  hidden_size: 4,
  intermediate_size: 6,
  num_attention_heads: 2,
  kv_lora_rank: 4,
  qk_rope_head_dim: 2,
  max_position_embeddings: 40,
  eos_token_id: 16,
};

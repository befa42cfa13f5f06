import { createRng, type ExpertDispatch, type ModelConfig, parseModelConfig, type TensorReader } from '@shoal/model';
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

/** Grouped-query attention, without an MTP module. */
export const gqa = parseModelConfig({
  model_type: 'mixtral',
  architectures: ['MixtralForCausalLM'],
  vocab_size: 53,
  hidden_size: 42,
  intermediate_size: 9,
  num_hidden_layers: 3,
  num_attention_heads: 6,
  num_key_value_heads: 2,
  head_dim: 10,
  num_local_experts: 6,
  num_experts_per_tok: 2,
  rope_theta: 100,
  max_position_embeddings: 200,
  rms_norm_eps: 1e-5,
  hidden_act: 'silu',
  tie_word_embeddings: false,
  sliding_window: null,
  bos_token_id: 0,
  eos_token_id: 0,
});

/** Queries are divided by this, and keys, latents and values multiplied: up to about 1e5. */
const FACTOR = 2 ** 17;

/** The same function as the model of `reader`, with factors of two in its weights that cancel out. */
export function enlarged(config: ModelConfig): TensorReader {
  const firstKeyRow = config.attention.kind === 'mla' ? config.attention.kvLoraRank : 0;
  const factorOf = (name: string): number => {
    if (/kv_a_layernorm|self_attn\.[kv]_proj|kv_a_proj_with_mqa/.test(name)) return FACTOR;
    return /q_b_proj|self_attn\.q_proj|o_proj/.test(name) ? 1 / FACTOR : 1;
  };
  return {
    read: async (spec) => {
      const { name, shape } = spec;
      const values = await reader.read(spec);
      const first = name.includes('kv_a_proj_with_mqa') ? firstKeyRow * shape[1]! : 0;
      return values.map((value, i) => (i < first ? value : value * factorOf(name)));
    },
  };
}

const seq2seqKeys = {
  vocab_size: 53,
  d_model: 42,
  num_experts: 4,
  pad_token_id: 0,
  eos_token_id: 1,
  decoder_start_token_id: 0,
};

/** Encoder–decoders: with RMSNorm and biases of positions, and with LayerNorm, sinusoids and biases of products. */
export const encoderDecoders = {
  switch: parseModelConfig({
    ...seq2seqKeys,
    model_type: 'switch_transformers',
    architectures: ['SwitchTransformersForConditionalGeneration'],
    d_kv: 10,
    d_ff: 37,
    num_heads: 3,
    num_layers: 3,
    num_decoder_layers: 4,
    num_sparse_encoder_layers: 1,
    num_sparse_decoder_layers: 2,
    encoder_sparse_step: 2,
    decoder_sparse_step: 2,
    // Fewer than the tests' sources would give an expert.
    expert_capacity: 5,
    layer_norm_epsilon: 1e-6,
    relative_attention_num_buckets: 8,
    relative_attention_max_distance: 12,
    n_positions: 100,
  }),
  nllb: parseModelConfig({
    ...seq2seqKeys,
    model_type: 'nllb-moe',
    architectures: ['NllbMoeForConditionalGeneration'],
    encoder_layers: 3,
    decoder_layers: 4,
    encoder_ffn_dim: 37,
    decoder_ffn_dim: 37,
    encoder_attention_heads: 3,
    decoder_attention_heads: 3,
    encoder_sparse_step: 2,
    decoder_sparse_step: 2,
    max_position_embeddings: 100,
    normalize_router_prob_before_dropping: false,
    batch_prioritized_routing: false,
    moe_eval_capacity_token_fraction: 0.4,
    moe_token_dropout: 0.2,
  }),
};

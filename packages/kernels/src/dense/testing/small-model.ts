import { createRng, type ExpertDispatch, type ModelConfig, parseModelConfig, type TensorReader } from '@shoal/model';
import { smallConfigJson, smallNllb, smallSwitch } from '@shoal/model/testing';

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

/** Encoder–decoders: with RMSNorm and biases of positions, and with LayerNorm, sinusoids and biases of products. */
export const encoderDecoders = {
  switch: parseModelConfig(smallSwitch),
  nllb: parseModelConfig(smallNllb),
};

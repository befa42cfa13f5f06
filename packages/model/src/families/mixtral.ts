import { z } from 'zod';
import { commonKeys, dimension, type Family, headCount, refuseUnsupportedCommon, unsupported } from './family.ts';
import { gqaModelConfig, numExpertsKeys } from './gqa.ts';

const schema = z.object({
  ...commonKeys,
  num_key_value_heads: headCount,
  head_dim: dimension.nullish(),
  ...numExpertsKeys,
  sliding_window: z.int().min(1).nullish(),
});

const MATRICES: Readonly<Record<string, string>> = { gate_proj: 'w1', up_proj: 'w3', down_proj: 'w2' };

/** Mixtral-8x7B and 8x22B (paper 2401.04088): every layer has experts, as wide as `intermediate_size`. */
export const mixtral: Family<typeof schema> = {
  modelType: 'mixtral',
  architecture: 'MixtralForCausalLM',
  schema,
  // Noise on the router's input, in training only.
  ignoredKeys: ['router_jitter_noise'],
  storedAt: (name) => ({
    name: name
      .replace('.mlp.', '.block_sparse_moe.')
      .replace(/(?<=\.experts\.\d+\.)(gate|up|down)_proj/, (part) => MATRICES[part]!),
  }),
  toConfig: (raw, where) => {
    refuseUnsupportedCommon(raw, where);
    const window = raw.sliding_window;
    if (window !== undefined && window !== null && window < raw.max_position_embeddings) {
      const detail = `is ${window}, less than max_position_embeddings ${raw.max_position_embeddings}`;
      throw unsupported(where, 'sliding_window', `${detail}; this version attends to the whole context only`);
    }
    // Mixtral takes a softmax over the chosen logits, which is the same as normalising the chosen probabilities.
    const choices = { qkNorm: 'none', clipQkv: null, normTopkProb: true } as const;
    return gqaModelConfig('mixtral', raw, { ...choices, moeIntermediateSize: raw.intermediate_size }, where);
  },
};

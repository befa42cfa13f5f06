import type { ModelConfig } from '@shoal/model';
import { z } from 'zod';
import { WeightsError } from '../../errors.ts';
import type { GgufValue } from './writer.ts';

/** llama.cpp's `llama_expert_gating_func_type`. */
const GATING_FUNC = { softmax: 1, sigmoid: 2 } as const;

const yarnSchema = z.object({
  type: z.literal('yarn').optional(),
  rope_type: z.literal('yarn').optional(),
  factor: z.number(),
  original_max_position_embeddings: z.number(),
  mscale_all_dim: z.number().default(0),
});

/** RoPE's keys, which GGUF stores as in config.json, while ModelConfig has only the frequencies and scale derived from them. */
const ropeSchema = z.looseObject({
  rope_theta: z.number().optional(),
  rope_scaling: yarnSchema.nullish(),
  rope_parameters: z.looseObject({ rope_theta: z.number().optional() }).nullish(),
});

/**
 * The hyperparameters that llama.cpp's `deepseek2` architecture reads (MLA in its absorbed form: one key-value head of the
 * latent's width, `key_length_mla` and `value_length_mla` being those of a head). The MTP module is left out: `block_count`
 * ends before it. `configJson` is the parsed config.json. Throws WeightsError `bad-model` for a model of another kind.
 */
export function deepseek2Metadata(config: ModelConfig, configJson: unknown, name: string): Map<string, GgufValue> {
  const { attention, gate } = config;
  if (attention.kind !== 'mla') {
    const supported = 'only deepseek_v2 and deepseek_v3 models can be exported, as deepseek2';
    throw new WeightsError('bad-model', `${config.modelType} has no latent attention; ${supported}`);
  }
  const { kvLoraRank, qkNopeHeadDim, qkRopeHeadDim, vHeadDim } = attention;
  const keys: Record<string, GgufValue> = {
    vocab_size: u32(config.vocabSize),
    context_length: u32(config.maxPositionEmbeddings),
    embedding_length: u32(config.hiddenSize),
    block_count: u32(config.numHiddenLayers),
    leading_dense_block_count: u32(leadingDenseLayers(config)),
    feed_forward_length: u32(config.intermediateSize),
    'attention.head_count': u32(attention.numAttentionHeads),
    'attention.head_count_kv': u32(1),
    'attention.key_length': u32(kvLoraRank + qkRopeHeadDim),
    'attention.value_length': u32(kvLoraRank),
    'attention.key_length_mla': u32(qkNopeHeadDim + qkRopeHeadDim),
    'attention.value_length_mla': u32(vHeadDim),
    'attention.q_lora_rank': u32(attention.qLoraRank ?? 0),
    'attention.kv_lora_rank': u32(kvLoraRank),
    'attention.layer_norm_rms_epsilon': f32(config.rmsNormEps),
    expert_count: u32(config.nRoutedExperts),
    expert_used_count: u32(config.numExpertsPerTok),
    expert_shared_count: u32(Math.round(config.sharedIntermediateSize / config.moeIntermediateSize)),
    expert_feed_forward_length: u32(config.moeIntermediateSize),
    expert_weights_scale: f32(gate.routedScalingFactor),
    expert_weights_norm: { type: 'bool', value: gate.normTopkProb },
    expert_gating_func: u32(GATING_FUNC[gate.scoring]),
    expert_group_count: u32(gate.nGroup),
    expert_group_used_count: u32(gate.topkGroup),
    'rope.dimension_count': u32(qkRopeHeadDim),
    ...ropeKeys(configJson),
  };
  const prefixed = Object.entries(keys).map(([key, value]): [string, GgufValue] => [`deepseek2.${key}`, value]);
  return new Map<string, GgufValue>([
    ['general.architecture', { type: 'string', value: 'deepseek2' }],
    ['general.name', { type: 'string', value: name }],
    ...prefixed,
  ]);
}

function leadingDenseLayers({ layerKinds, numHiddenLayers }: ModelConfig): number {
  const dense = layerKinds.indexOf('moe');
  const count = dense < 0 ? numHiddenLayers : dense;
  if (layerKinds.slice(count, numHiddenLayers).includes('dense')) {
    throw new WeightsError('bad-model', 'a dense layer follows an MoE layer, which GGUF cannot represent');
  }
  return count;
}

function ropeKeys(configJson: unknown): Record<string, GgufValue> {
  const parsed = ropeSchema.safeParse(configJson);
  if (!parsed.success) {
    const problem = 'config.json: GGUF cannot represent this rope_scaling';
    throw new WeightsError('bad-model', `${problem}: ${parsed.error.message}`);
  }
  const { rope_theta: theta, rope_scaling: yarn, rope_parameters: parameters } = parsed.data;
  const base = { 'rope.freq_base': f32(theta ?? parameters?.rope_theta ?? Number.NaN) };
  if (!yarn) return base;
  return {
    ...base,
    'rope.scaling.type': { type: 'string', value: 'yarn' },
    'rope.scaling.factor': f32(yarn.factor),
    'rope.scaling.original_context_length': u32(yarn.original_max_position_embeddings),
    // 0.1 comes from YaRN's formula for the temperature (eq. 22); llama.cpp multiplies it by ln(factor).
    'rope.scaling.yarn_log_multiplier': f32(0.1 * yarn.mscale_all_dim),
  };
}

const u32 = (value: number): GgufValue => ({ type: 'u32', value });
const f32 = (value: number): GgufValue => ({ type: 'f32', value });

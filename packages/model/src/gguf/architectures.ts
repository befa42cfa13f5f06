import { z } from 'zod';
import { type ConfigSource, decimal } from './config-source.ts';
import type { Metadata } from './metadata.ts';

type Json = Record<string, unknown>;

/** An architecture of llama.cpp that is a family of Shoal's. */
export interface Architecture {
  /** Whether llama.cpp's converter changes the order of the rows of q_proj and k_proj, as its LlamaModel does. */
  permutesHeads: boolean;
  /** Whether llama.cpp divides RoPE's frequencies by the file's `rope_freqs`. */
  readsRopeFactors?: boolean;
  /** The whole config.json, from the keys that all families have. */
  configJson(common: Json, source: ConfigSource): Json;
}

/** ggml's `llama_expert_gating_func_type`. */
const SIGMOID = 2;

const named = (architecture: string, modelType: string): Json => ({
  architectures: [architecture],
  model_type: modelType,
});

/** Keys of several architectures, from the metadata. */
export const facts = {
  experts: ({ metadata }: ConfigSource): number => metadata.number('{arch}.expert_count'),
  /** Width of an expert. */
  expertWidth: ({ metadata }: ConfigSource): number => metadata.number('{arch}.expert_feed_forward_length'),
  /** Width of a dense layer. */
  width: ({ metadata }: ConfigSource): number =>
    metadata.same('{arch}.feed_forward_length') ?? metadata.number('{arch}.feed_forward_length'),
  sharedExperts: ({ metadata }: ConfigSource): number => metadata.findNumber('{arch}.expert_shared_count') ?? 0,
  denseLayers: ({ metadata }: ConfigSource): number => metadata.findNumber('{arch}.leading_dense_block_count') ?? 0,
  normalised: ({ metadata }: ConfigSource): boolean =>
    metadata.find('{arch}.expert_weights_norm', z.boolean()) ?? false,
  scale: ({ metadata }: ConfigSource): number => decimal(metadata.findNumber('{arch}.expert_weights_scale') || 1),
  mtpModules: ({ metadata }: ConfigSource): number => metadata.findNumber('{arch}.nextn_predict_layers') ?? 0,
  rotated: ({ metadata, headDim }: ConfigSource): number =>
    metadata.findNumber('{arch}.rope.dimension_count') ?? headDim,
};

const ARCHITECTURES: ReadonlyMap<string, Architecture> = new Map<string, Architecture>([
  ['deepseek2', { permutesHeads: false, configJson: deepseek2 }],
  [
    'qwen3moe',
    {
      permutesHeads: false,
      configJson: (common, source) => ({
        ...named('Qwen3MoeForCausalLM', 'qwen3_moe'),
        ...common,
        head_dim: source.headDim,
        intermediate_size: facts.width(source),
        moe_intermediate_size: facts.expertWidth(source),
        num_experts: facts.experts(source),
        // Not recorded; llama.cpp always normalises, and so do all published models.
        norm_topk_prob: true,
      }),
    },
  ],
  [
    'qwen2moe',
    {
      permutesHeads: false,
      configJson: (common, source) => ({
        ...named('Qwen2MoeForCausalLM', 'qwen2_moe'),
        ...common,
        intermediate_size: facts.width(source),
        moe_intermediate_size: facts.expertWidth(source),
        shared_expert_intermediate_size: source.metadata.number('{arch}.expert_shared_feed_forward_length'),
        num_experts: facts.experts(source),
        // Not recorded; no published model does.
        norm_topk_prob: false,
      }),
    },
  ],
  [
    'olmoe',
    {
      permutesHeads: false,
      configJson: (common, source) => ({
        ...named('OlmoeForCausalLM', 'olmoe'),
        ...common,
        intermediate_size: facts.width(source),
        num_experts: facts.experts(source),
        norm_topk_prob: false,
      }),
    },
  ],
  [
    'llama',
    {
      permutesHeads: true,
      readsRopeFactors: true,
      configJson: (common, source) => ({
        ...named('MixtralForCausalLM', 'mixtral'),
        ...common,
        ...(source.metadata.findNumber('{arch}.attention.key_length') === undefined
          ? {}
          : { head_dim: source.headDim }),
        intermediate_size: facts.width(source),
        num_local_experts: facts.experts(source),
      }),
    },
  ],
  ['gpt-oss', { permutesHeads: false, configJson: gptOss }],
  ['glm4moe', { permutesHeads: false, configJson: glm4Moe }],
  [
    'minimax-m2',
    {
      permutesHeads: false,
      configJson: (common, source) => ({
        ...named('MiniMaxM2ForCausalLM', 'minimax_m2'),
        ...common,
        head_dim: source.headDim,
        rotary_dim: facts.rotated(source),
        intermediate_size: facts.expertWidth(source),
        num_local_experts: facts.experts(source),
        use_qk_norm: true,
        qk_norm_type: 'per_layer',
        use_routing_bias: true,
        scoring_func: 'sigmoid',
      }),
    },
  ],
  ['llama4', { permutesHeads: false, readsRopeFactors: true, configJson: llama4 }],
  [
    'granitemoe',
    {
      permutesHeads: true,
      configJson: (common, source) => ({
        ...named('GraniteMoeForCausalLM', 'granitemoe'),
        ...common,
        intermediate_size: facts.width(source),
        num_local_experts: facts.experts(source),
        attention_multiplier: decimal(source.metadata.number('{arch}.attention.scale')),
        embedding_multiplier: decimal(source.metadata.number('{arch}.embedding_scale')),
        residual_multiplier: decimal(source.metadata.number('{arch}.residual_scale')),
        logits_scaling: decimal(source.metadata.number('{arch}.logit_scale')),
      }),
    },
  ],
  ['ernie4_5-moe', { permutesHeads: false, configJson: ernie }],
  ['hunyuan-moe', { permutesHeads: false, configJson: hunyuan }],
  [
    'dots1',
    {
      permutesHeads: false,
      configJson: (common, source) => ({
        ...named('Dots1ForCausalLM', 'dots1'),
        ...common,
        head_dim: source.headDim,
        intermediate_size: facts.width(source),
        moe_intermediate_size: facts.expertWidth(source),
        n_routed_experts: facts.experts(source),
        n_shared_experts: facts.sharedExperts(source),
        first_k_dense_replace: facts.denseLayers(source),
        norm_topk_prob: facts.normalised(source),
        routed_scaling_factor: facts.scale(source),
        n_group: 1,
        topk_group: 1,
      }),
    },
  ],
]);

/** Throws a CheckpointError for an architecture that is none of Shoal's families. */
export function architectureOf(metadata: Metadata): Architecture {
  const { architecture } = metadata;
  const found = ARCHITECTURES.get(architecture);
  const known = `this version reads ${[...ARCHITECTURES.keys()].join(', ')}`;
  if (!found) throw metadata.bad('general.architecture', `is "${architecture}"; ${known}`);
  if (metadata.findNumber('{arch}.expert_count')) return found;
  throw metadata.bad('{arch}.expert_count', 'is missing or 0: Shoal serves models with routed experts only');
}

/** DeepSeek-V2 and V3 and what has their architecture: Kimi-K2, Moonlight, GLM-4.7-Flash. */
function deepseek2(common: Json, source: ConfigSource): Json {
  const { metadata } = source;
  const isV3 = deepseekGating(source, common['vocab_size']) === SIGMOID;
  const { groups, used } = expertGroups(source, isV3);
  const [nope, rope] = [
    metadata.number('{arch}.attention.key_length_mla'),
    metadata.number('{arch}.rope.dimension_count'),
  ];
  const { num_key_value_heads: _, ...rest } = common;
  return {
    ...(isV3 ? named('DeepseekV3ForCausalLM', 'deepseek_v3') : named('DeepseekV2ForCausalLM', 'deepseek_v2')),
    ...rest,
    rope_scaling: deepseekYarn(common['rope_scaling'] as Json | null, metadata),
    intermediate_size: facts.width(source),
    moe_intermediate_size: facts.expertWidth(source),
    first_k_dense_replace: facts.denseLayers(source),
    n_routed_experts: facts.experts(source),
    n_shared_experts: facts.sharedExperts(source),
    // An exporter of ours once wrote 0 for none.
    q_lora_rank: metadata.findNumber('{arch}.attention.q_lora_rank') || null,
    kv_lora_rank: metadata.number('{arch}.attention.kv_lora_rank'),
    qk_nope_head_dim: nope - rope,
    qk_rope_head_dim: rope,
    v_head_dim: metadata.number('{arch}.attention.value_length_mla'),
    norm_topk_prob: facts.normalised(source),
    routed_scaling_factor: facts.scale(source),
    n_group: groups,
    topk_group: used,
    topk_method: isV3 ? 'noaux_tc' : groups > 1 ? 'group_limited_greedy' : 'greedy',
    scoring_func: isV3 ? 'sigmoid' : 'softmax',
    num_nextn_predict_layers: facts.mtpModules(source),
  };
}

/** Files from before V3 do not say, nor do some of GLM-4.7-Flash, which llama.cpp knows by its numbers of layers and tokens. */
function deepseekGating({ metadata, numHiddenLayers }: ConfigSource, vocabSize: unknown): number {
  const isGlm = numHiddenLayers === 47 && vocabSize === 154_880;
  return metadata.findNumber('{arch}.expert_gating_func') || (isGlm ? SIGMOID : 1);
}

/** Files of before llama.cpp computed groups do not have them: V3 was published with 4 of 8, V2 with 3 of 8. */
function expertGroups(source: ConfigSource, isV3: boolean): { groups: number; used: number } {
  const groups = source.metadata.findNumber('{arch}.expert_group_count');
  if (groups !== undefined) {
    return { groups: Math.max(1, groups), used: Math.max(1, source.metadata.number('{arch}.expert_group_used_count')) };
  }
  const experts = facts.experts(source);
  if (isV3 && experts === 256) return { groups: 8, used: 4 };
  return !isV3 && experts === 160 ? { groups: 8, used: 3 } : { groups: 1, used: 1 };
}

/** YaRN's temperature: llama.cpp stores 0.1 mscale_all_dim, and takes mscale to be the same, as in all published models. */
function deepseekYarn(scaling: Json | null, metadata: Metadata): Json | null {
  if (scaling?.['type'] !== 'yarn') return scaling;
  const multiplier = decimal(metadata.findNumber('{arch}.rope.scaling.yarn_log_multiplier') ?? 0);
  const mscale = Number((10 * multiplier).toPrecision(6));
  return { ...scaling, mscale, mscale_all_dim: mscale };
}

function gptOss(common: Json, source: ConfigSource): Json {
  const scaling = common['rope_scaling'] as Json | null;
  return {
    ...named('GptOssForCausalLM', 'gpt_oss'),
    ...common,
    attention_bias: true,
    head_dim: source.headDim,
    intermediate_size: facts.expertWidth(source),
    num_local_experts: facts.experts(source),
    sliding_window: source.metadata.number('{arch}.attention.sliding_window'),
    // Not recorded; llama.cpp has the same.
    layer_types: Array.from({ length: source.numHiddenLayers }, (_, layer) =>
      layer % 2 === 0 ? 'sliding_attention' : 'full_attention',
    ),
    swiglu_limit: 7,
    // Published so; GGUF does not say.
    rope_scaling: scaling && { ...scaling, truncate: false },
  };
}

function glm4Moe(common: Json, source: ConfigSource): Json {
  return {
    ...named('Glm4MoeForCausalLM', 'glm4_moe'),
    ...common,
    attention_bias: source.has('blk.0.attn_q.bias'),
    head_dim: source.headDim,
    partial_rotary_factor: facts.rotated(source) / source.headDim,
    use_qk_norm: source.has('blk.0.attn_q_norm.weight'),
    intermediate_size: facts.width(source),
    moe_intermediate_size: facts.expertWidth(source),
    first_k_dense_replace: facts.denseLayers(source),
    n_routed_experts: facts.experts(source),
    n_shared_experts: facts.sharedExperts(source),
    norm_topk_prob: facts.normalised(source),
    routed_scaling_factor: facts.scale(source),
    n_group: 1,
    topk_group: 1,
    num_nextn_predict_layers: facts.mtpModules(source),
  };
}

/** Llama 4's Maverick, which alone has 128 experts, does not norm its queries and keys. */
const MAVERICK_EXPERTS = 128;

function llama4(common: Json, source: ConfigSource): Json {
  const numExperts = facts.experts(source);
  const text = {
    model_type: 'llama4_text',
    ...common,
    head_dim: source.headDim,
    intermediate_size: facts.expertWidth(source),
    intermediate_size_mlp: facts.width(source),
    num_local_experts: numExperts,
    interleave_moe_layer_step: source.metadata.number('{arch}.interleave_moe_layer_step'),
    use_qk_norm: numExperts !== MAVERICK_EXPERTS,
    // Not recorded; llama.cpp has the same.
    attention_chunk_size: 8192,
  };
  return { ...named('Llama4ForConditionalGeneration', 'llama4'), text_config: text };
}

function ernie(common: Json, source: ConfigSource): Json {
  const { num_experts_per_tok: perToken, ...rest } = common;
  return {
    ...named('Ernie4_5_MoeForCausalLM', 'ernie4_5_moe'),
    ...rest,
    use_bias: false,
    intermediate_size: facts.width(source),
    moe_intermediate_size: facts.expertWidth(source),
    moe_k: perToken,
    moe_num_experts: facts.experts(source),
    moe_num_shared_experts: facts.sharedExperts(source),
    moe_layer_start_index: facts.denseLayers(source),
    moe_layer_end_index: source.numHiddenLayers - 1,
    moe_layer_interval: source.metadata.number('{arch}.interleave_moe_layer_step'),
  };
}

/** The base of RoPE is stored with the published "alpha" applied, so that nothing is left to scale. */
function hunyuan(common: Json, source: ConfigSource): Json {
  const { num_experts_per_tok: perToken, ...rest } = common;
  return {
    ...named('HunYuanMoEV1ForCausalLM', 'hunyuan_v1_moe'),
    ...rest,
    head_dim: source.headDim,
    use_qk_norm: true,
    use_mixed_mlp_moe: true,
    intermediate_size: source.metadata.number('{arch}.expert_shared_feed_forward_length'),
    moe_intermediate_size: facts.expertWidth(source),
    num_experts: facts.experts(source),
    moe_topk: perToken,
    num_shared_expert: source.metadata.findNumber('{arch}.expert_shared_count') ?? 1,
    rope_scaling: null,
  };
}

import { z } from 'zod';
import type { LayerAttention, LayerKind, ModelConfig, ModelType } from '../model-config.ts';
import { expertPart } from './expert-names.ts';
import {
  commonKeys,
  dimension,
  type Family,
  layerCount,
  positive,
  refuse,
  refuseUnsupportedCommon,
  type StoredAt,
  unsupported,
} from './family.ts';
import { sigmoidGate } from './gates.ts';
import { gqaModelConfig, headKeys, numExpertsKeys } from './gqa.ts';
import { positions, readLayerTypes, refuseLength, spanKeys, spanOf } from './layer-types.ts';

const step = z.int().min(1).max(1024);

/** With the defaults of Meta's published code, which are transformers' too. */
const schema = z.object({
  ...commonKeys,
  ...headKeys,
  ...numExpertsKeys,
  ...spanKeys,
  /** Width of the dense layers; `intermediate_size` is that of an expert. */
  intermediate_size_mlp: dimension,
  moe_layers: z.array(layerCount).max(1024).nullish(),
  interleave_moe_layer_step: step.default(1),
  use_qk_norm: z.boolean().default(true),
  /** 1 for each layer *with* RoPE. */
  no_rope_layers: z.array(z.int().min(0).max(1)).max(1024).nullish(),
  no_rope_layer_interval: step.default(4),
  /** Some configs have a number, which was once a setting's. */
  attn_temperature_tuning: z.union([z.boolean(), z.int()]).default(true),
  floor_scale: positions.default(8192),
  attn_scale: positive.default(0.1),
});

type Raw = z.infer<typeof schema>;

/** The text model of Llama 4 Scout and Maverick, in checkpoints with their vision tower. */
export const llama4: Family<typeof schema> = {
  modelType: 'llama4',
  architectures: ['Llama4ForConditionalGeneration'],
  textConfig: {
    key: 'text_config',
    modelTypes: ['llama4_text'],
    outside: ['bos_token_id', 'eos_token_id', 'quantization_config', 'tie_word_embeddings'],
    ignoredKeys: ['boi_token_index', 'eoi_token_index', 'image_token_index', 'vision_config'],
  },
  schema,
  ignoredKeys: ['cache_implementation'],
  storedAt: (name, config) => {
    const stored = storedAt(name, config);
    return { ...stored, name: `language_model.${stored.name}` };
  },
  ignoredTensors: [/^vision_model\./, /^multi_modal_projector\./],
  toConfig: (raw, where) => toConfig('llama4', raw, where),
};

/** The same without the tower. */
export const llama4Text: Family<typeof schema> = {
  modelType: 'llama4_text',
  architectures: ['Llama4ForCausalLM'],
  schema,
  ignoredKeys: ['cache_implementation'],
  storedAt,
  toConfig: (raw, where) => toConfig('llama4_text', raw, where),
};

function toConfig(modelType: ModelType, raw: Raw, where: string): ModelConfig {
  refuseUnsupportedCommon(raw, where);
  if (raw.num_experts_per_tok !== 1) {
    const detail = `is ${raw.num_experts_per_tok}; this version computes only one expert per token where it scales the input`;
    throw unsupported(where, 'num_experts_per_tok', detail);
  }
  const { attention_bias: bias, intermediate_size: width } = raw;
  return gqaModelConfig(
    modelType,
    raw,
    {
      intermediateSize: raw.intermediate_size_mlp,
      moeIntermediateSize: width,
      sharedIntermediateSize: width,
      gate: sigmoidGate({ scalesInput: true }),
      attention: {
        qkNorm: raw.use_qk_norm ? 'l2' : 'none',
        bias: { qkv: bias, o: bias },
        temperature: raw.attn_temperature_tuning ? { floor: raw.floor_scale, scale: raw.attn_scale } : null,
      },
      pairs: 'interleaved',
      layerKinds: layerKinds(raw, where),
      layerAttention: layerAttention(raw, where),
    },
    where,
  );
}

/** Every `interleave_moe_layer_step`-th layer has experts, or those that `moe_layers` lists. */
function layerKinds(raw: Raw, where: string): LayerKind[] {
  const { num_hidden_layers: layers, moe_layers: listed } = raw;
  const outside = listed?.find((layer) => layer >= layers);
  refuse(raw, where, outside !== undefined, 'moe_layers', `num_hidden_layers is ${layers}`);
  return Array.from({ length: layers }, (_, layer) =>
    (listed ? listed.includes(layer) : (layer + 1) % raw.interleave_moe_layer_step === 0) ? 'moe' : 'dense',
  );
}

/** Layers with RoPE attend within their chunk, and those without it to all positions. */
function layerAttention(raw: Raw, where: string): LayerAttention[] {
  const { num_hidden_layers: layers, attention_chunk_size: chunk } = raw;
  // Maverick's config has an empty list, which means that it doesn't say.
  const listed = raw.no_rope_layers?.length ? raw.no_rope_layers : undefined;
  if (listed) refuseLength(raw, where, 'no_rope_layers', listed.length);
  const spans = readLayerTypes(raw, where);
  return Array.from({ length: layers }, (_, layer) => {
    const rope = listed ? listed[layer] === 1 : (layer + 1) % raw.no_rope_layer_interval !== 0;
    return { rope, span: spans?.[layer] ?? (rope && chunk ? spanOf('chunk', chunk, raw) : { kind: 'full' }) };
  });
}

/** A layer's experts are stacked, gate and up are one matrix, one after the other, and matrices are stored as [inputs, outputs]. */
function storedAt(name: string, { moeIntermediateSize }: ModelConfig): StoredAt {
  const found = expertPart(name);
  if (found) {
    const { layer, expert, part } = found;
    return {
      name: `${layer}feed_forward.experts.${part === 'down' ? 'down_proj' : 'gate_up_proj'}`,
      index: expert,
      ...(part !== 'down' && { rows: { first: part === 'gate' ? 0 : moeIntermediateSize, step: 1 } }),
      transposed: true,
    };
  }
  return {
    name: name
      .replace('.mlp.gate.', '.mlp.router.')
      .replace('.mlp.shared_experts.', '.mlp.shared_expert.')
      .replace('.mlp.', '.feed_forward.'),
  };
}

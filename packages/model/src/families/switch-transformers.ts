import { z } from 'zod';
import type { LayerKind, ModelConfig } from '../model-config.ts';
import { dimension, type Family, headCount, layerCount, MAX_LAYERS, positive, refuse, unsupported } from './family.ts';
import { softmaxGate } from './gates.ts';
import { plainAttention } from './gqa.ts';
import { positions } from './layer-types.ts';
import { readQuantisation } from './quantisation-keys.ts';
import {
  commonSeq2Seq,
  ffnActivation,
  refuseCapacity,
  refuseUnsupportedSeq2Seq,
  seq2seqIgnoredKeys,
  seq2seqKeys,
  stackKinds,
  type StackLayer,
  storedInStacks,
  targetPrefix,
} from './seq2seq.ts';

const atLeastOneLayer = z.int().min(1).max(MAX_LAYERS);

const schema = z.object({
  ...seq2seqKeys,
  d_kv: dimension,
  d_ff: dimension,
  num_heads: headCount,
  num_layers: atLeastOneLayer,
  num_decoder_layers: atLeastOneLayer.nullish(),
  num_sparse_encoder_layers: layerCount,
  num_sparse_decoder_layers: layerCount,
  encoder_sparse_step: layerCount.nullish(),
  decoder_sparse_step: layerCount.nullish(),
  expert_capacity: z.number(),
  layer_norm_epsilon: positive,
  relative_attention_num_buckets: z.int().min(4).max(4096),
  relative_attention_max_distance: positions,
  dense_act_fn: z.string().default('relu'),
  // Written by older versions, which meant the same by it.
  feed_forward_proj: z.string().nullish(),
  is_gated_act: z.boolean().default(false),
  n_positions: positions.nullish(),
});

type Raw = z.infer<typeof schema>;

/** T5 gives no limit, and was trained with texts of this many tokens. */
const T5_POSITIONS = 512;

const WHOLE: Readonly<Record<string, string>> = {
  'model.embed_tokens.weight': 'shared.weight',
  'model.encoder.position_bias.weight': 'encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight',
  'model.decoder.position_bias.weight': 'decoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight',
  'model.encoder.norm.weight': 'encoder.final_layer_norm.weight',
  'model.norm.weight': 'decoder.final_layer_norm.weight',
};

/**
 * Switch Transformers (Fedus et al. 2021), an encoder–decoder of T5's kind (Raffel et al. 2020): one expert a row, which takes
 * `expert_capacity` rows of a text.
 */
export const switchTransformers: Family<typeof schema> = {
  modelType: 'switch_transformers',
  architectures: ['SwitchTransformersForConditionalGeneration'],
  schema,
  ignoredKeys: [...seq2seqIgnoredKeys, 'add_router_probs', 'dropout_rate'],
  storedAt: storedInStacks({ whole: WHOLE, inLayer }),
  ignoredTensors: [
    /^(encoder|decoder)\.embed_tokens\.weight$/,
    // T5's first checkpoints have it, and no implementation reads it.
    /^decoder\.block\.0\.layer\.1\.EncDecAttention\.relative_attention_bias\.weight$/,
  ],
  toConfig,
};

function toConfig(raw: Raw, where: string): ModelConfig {
  refuseUnsupportedSeq2Seq(raw, where);
  refuseCapacity(raw.expert_capacity, where);
  const activation = ffnActivation(raw.dense_act_fn, 'dense_act_fn', where);
  if (raw.is_gated_act)
    throw unsupported(where, 'is_gated_act', 'is true; this version computes only FFNs without a gate');
  const other = raw.feed_forward_proj ?? raw.dense_act_fn;
  refuse(raw, where, other !== raw.dense_act_fn, 'feed_forward_proj', `dense_act_fn is "${raw.dense_act_fn}"`);
  const { relative_attention_num_buckets: buckets, relative_attention_max_distance: maxDistance } = raw;
  refuse(raw, where, buckets % 4 !== 0, 'relative_attention_num_buckets', 'it has to be a multiple of 4');
  refuse(
    raw,
    where,
    maxDistance <= buckets / 2,
    'relative_attention_max_distance',
    `half of ${buckets} buckets are exact`,
  );
  const kinds = (['encoder', 'decoder'] as const).map((stack) => kindsOf(raw, stack));
  const layerKinds = stackKinds(kinds, ['num_sparse_encoder_layers', 'num_sparse_decoder_layers'], where);
  return {
    ...commonSeq2Seq(raw, layerKinds, where),
    modelType: 'switch_transformers',
    intermediateSize: raw.d_ff,
    moeIntermediateSize: raw.d_ff,
    expert: { activation, bias: false },
    numExpertsPerTok: 1,
    attention: plainAttention(raw.num_heads, raw.d_kv, false, 1),
    gate: softmaxGate({ normTopkProb: false, hasLogitBias: raw.router_bias }),
    sequenceGate: { name: 'top-1-capacity', settings: { capacity: raw.expert_capacity } },
    maxPositionEmbeddings: raw.n_positions ?? T5_POSITIONS,
    rmsNormEps: raw.layer_norm_epsilon,
    embeddingMultiplier: 1,
    logitsDivisor: Math.sqrt(raw.d_model),
    quantisation: readQuantisation(raw.quantization_config, where),
    seq2seq: {
      encoderLayers: kinds[0]!.length,
      norm: 'rms',
      positions: { kind: 'buckets', buckets, maxDistance },
      targetPrefix: targetPrefix(raw, where),
    },
  };
}

/**
 * As transformers' SwitchTransformersStack has it: layers 1, 1 + step, 1 + 2 · step, … have experts, with a step of 1 all of them. A
 * published step counts, and otherwise follows from the number of sparse layers; for none of them that is all layers, so that the
 * second one still has experts.
 */
function kindsOf(raw: Raw, stack: 'encoder' | 'decoder'): LayerKind[] {
  const layers = stack === 'encoder' ? raw.num_layers : (raw.num_decoder_layers ?? raw.num_layers);
  const sparse = raw[`num_sparse_${stack}_layers`];
  const step = raw[`${stack}_sparse_step`] ?? (sparse > 0 ? Math.floor(layers / sparse) : layers);
  return Array.from({ length: layers }, (_, i) => (step === 1 || (step > 0 && i % step === 1) ? 'moe' : 'dense'));
}

/** A layer's parts are a list: attention to its own rows, in the decoder to the encoder's, and the FFN. */
function inLayer(part: string, { stack, index }: StackLayer): string {
  const at = `${stack}.block.${index}.layer`;
  const ffn = `${at}.${stack === 'encoder' ? 1 : 2}`;
  return part
    .replace(/^input_layernorm\./, `${at}.0.layer_norm.`)
    .replace(/^self_attn\.([qkvo])_proj\./, `${at}.0.SelfAttention.$1.`)
    .replace(/^cross_attention_layernorm\./, `${at}.1.layer_norm.`)
    .replace(/^cross_attn\.([qkvo])_proj\./, `${at}.1.EncDecAttention.$1.`)
    .replace(/^post_attention_layernorm\./, `${ffn}.layer_norm.`)
    .replace(/^mlp\.gate\./, `${ffn}.mlp.router.classifier.`)
    .replace(/^mlp\.experts\.(\d+)\./, `${ffn}.mlp.experts.expert_$1.`)
    .replace(/^mlp\./, `${ffn}.mlp.`)
    .replace(/\.up_proj\./, '.wi.')
    .replace(/\.down_proj\./, '.wo.');
}

import { z } from 'zod';
import { ModelError } from '../errors.ts';
import type { LayerKind, ModelConfig, SequenceGate } from '../model-config.ts';
import { dimension, type Family, headCount, layerCount, MAX_LAYERS, refuse, unsupported } from './family.ts';
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

const stackLayers = z.int().min(1).max(MAX_LAYERS);

const schema = z.object({
  ...seq2seqKeys,
  encoder_layers: stackLayers,
  decoder_layers: stackLayers,
  // Some published configs repeat the encoder's under this name.
  num_hidden_layers: stackLayers.nullish(),
  encoder_ffn_dim: dimension,
  decoder_ffn_dim: dimension,
  encoder_attention_heads: headCount,
  decoder_attention_heads: headCount,
  encoder_sparse_step: layerCount,
  decoder_sparse_step: layerCount,
  max_position_embeddings: positions,
  activation_function: z.string().default('relu'),
  scale_embedding: z.boolean().default(true),
  expert_capacity: z.number().nullish(),
  second_expert_policy: z.string().default('all'),
  normalize_router_prob_before_dropping: z.boolean(),
  batch_prioritized_routing: z.boolean(),
  moe_eval_capacity_token_fraction: z.number().max(1),
  moe_token_dropout: z.number().min(0).max(1),
});

type Raw = z.infer<typeof schema>;

/** torch's default, which no key changes. */
const LAYER_NORM_EPS = 1e-5;

const WHOLE: Readonly<Record<string, string>> = {
  'model.embed_tokens.weight': 'model.shared.weight',
  'model.encoder.norm.weight': 'model.encoder.layer_norm.weight',
  'model.encoder.norm.bias': 'model.encoder.layer_norm.bias',
  'model.norm.weight': 'model.decoder.layer_norm.weight',
  'model.norm.bias': 'model.decoder.layer_norm.bias',
};

/**
 * NLLB-MoE (NLLB Team 2022; fairseq's branch `nllb`): two experts a row. Between training and inference an expert's output is
 * multiplied by 1 − `moe_token_dropout`, since training masks that share of the outputs without scaling the rest (fairseq's
 * `MOELayer`).
 */
export const nllbMoe: Family<typeof schema> = {
  modelType: 'nllb-moe',
  architectures: ['NllbMoeForConditionalGeneration'],
  schema,
  ignoredKeys: [
    ...seq2seqIgnoredKeys,
    'activation_dropout',
    'decoder_layerdrop',
    'dropout',
    'encoder_layerdrop',
    'init_std',
  ],
  storedAt: storedInStacks({ whole: WHOLE, inLayer }),
  ignoredTensors: [
    /^model\.(encoder|decoder)\.embed_tokens\.weight$/,
    /^model\.(encoder|decoder)\.embed_positions\.weights$/,
  ],
  toConfig,
};

function toConfig(raw: Raw, where: string): ModelConfig {
  refuseUnsupportedSeq2Seq(raw, where);
  for (const part of ['ffn_dim', 'attention_heads'] as const) {
    const [encoder, decoder] = [raw[`encoder_${part}`], raw[`decoder_${part}`]];
    if (encoder === decoder) continue;
    throw unsupported(
      where,
      `decoder_${part}`,
      `is ${decoder} and encoder_${part} ${encoder}; this version computes only stacks that have the same`,
    );
  }
  const { encoder_attention_heads: heads, d_model: hiddenSize, num_hidden_layers: layers } = raw;
  const headDim = hiddenSize / heads;
  refuse(
    raw,
    where,
    !Number.isInteger(headDim),
    'encoder_attention_heads',
    `d_model ${hiddenSize} is not a multiple of it`,
  );
  refuse(raw, where, hiddenSize % 2 !== 0 || hiddenSize < 4, 'd_model', 'positions are pairs of a sine and a cosine');
  refuse(
    raw,
    where,
    (layers ?? raw.encoder_layers) !== raw.encoder_layers,
    'num_hidden_layers',
    `encoder_layers is ${raw.encoder_layers}`,
  );
  refuse(raw, where, raw.num_experts < 2, 'num_experts', 'each token has two');
  const kinds = (['encoder', 'decoder'] as const).map((stack) =>
    kindsOf(raw[`${stack}_layers`], raw[`${stack}_sparse_step`]),
  );
  const layerKinds = stackKinds(kinds, ['encoder_sparse_step', 'decoder_sparse_step'], where);
  return {
    ...commonSeq2Seq(raw, layerKinds, where),
    modelType: 'nllb-moe',
    intermediateSize: raw.encoder_ffn_dim,
    moeIntermediateSize: raw.encoder_ffn_dim,
    expert: { activation: ffnActivation(raw.activation_function, 'activation_function', where), bias: true },
    numExpertsPerTok: 2,
    attention: plainAttention(heads, headDim, true, 1 / Math.sqrt(headDim)),
    gate: softmaxGate({ hasLogitBias: raw.router_bias }),
    sequenceGate: gateOf(raw, where),
    maxPositionEmbeddings: raw.max_position_embeddings,
    rmsNormEps: LAYER_NORM_EPS,
    embeddingMultiplier: raw.scale_embedding ? Math.sqrt(hiddenSize) : 1,
    logitsDivisor: 1,
    quantisation: readQuantisation(raw.quantization_config, where),
    seq2seq: {
      encoderLayers: raw.encoder_layers,
      norm: 'layer',
      positions: { kind: 'sinusoid', padTokenId: padTokenId(raw, where) },
      targetPrefix: targetPrefix(raw, where),
    },
  };
}

function outputFactor({ moe_token_dropout: dropout }: Raw, where: string): number {
  if (dropout < 1) return 1 - dropout;
  throw unsupported(where, 'moe_token_dropout', 'is 1, so that no expert would have an effect');
}

/** Positions count from it. */
function padTokenId({ pad_token_id: id }: Raw, where: string): number {
  if (id !== undefined && id !== null) return id;
  const problem = 'is missing, from which positions are counted: add it as in the published config';
  throw new ModelError('missing-key', 'pad_token_id', `${where}: pad_token_id ${problem}`);
}

function gateOf(raw: Raw, where: string): SequenceGate {
  if (raw.second_expert_policy !== 'all') {
    const problem = `is "${raw.second_expert_policy}", by which chance decides; this version computes only "all"`;
    throw unsupported(where, 'second_expert_policy', problem);
  }
  const capacity = raw.expert_capacity ?? undefined;
  if (capacity !== undefined) refuseCapacity(capacity, where);
  return {
    name: 'top-2-capacity',
    settings: {
      capacity,
      capacityTokenFraction: capacityFraction(raw, where),
      normalizeBeforeDropping: raw.normalize_router_prob_before_dropping,
      batchPrioritizedRouting: raw.batch_prioritized_routing,
    },
    factor: outputFactor(raw, where),
  };
}

/** Negative, it has the capacity follow from `expert_capacity` instead. */
function capacityFraction({ moe_eval_capacity_token_fraction: fraction }: Raw, where: string): number {
  const key = 'moe_eval_capacity_token_fraction';
  if (fraction === 0) {
    const problem = `${where}: ${key} is 0: an expert would take no token; give the share of a text's tokens that an expert takes, as in the published config`;
    throw new ModelError('bad-value', key, problem);
  }
  return Math.max(-1, fraction);
}

function kindsOf(layers: number, step: number): LayerKind[] {
  return Array.from({ length: layers }, (_, i) => (step > 0 && (i + 1) % step === 0 ? 'moe' : 'dense'));
}

function inLayer(part: string, { stack, index }: StackLayer): string {
  const renamed = part
    .replace(/^input_layernorm\./, 'self_attn_layer_norm.')
    .replace(/\.o_proj\./, '.out_proj.')
    .replace(/^cross_attn\./, 'cross_attention.')
    .replace(/^cross_attention_layernorm\./, 'cross_attention_layer_norm.')
    .replace(/^post_attention_layernorm\./, 'ff_layer_norm.')
    .replace(/^mlp\.gate\./, 'ffn.router.classifier.')
    .replace(/^mlp\.experts\.(\d+)\./, 'ffn.experts.expert_$1.')
    .replace(/^mlp\./, 'ffn.')
    .replace(/\.up_proj\./, '.fc1.')
    .replace(/\.down_proj\./, '.fc2.');
  return `model.${stack}.layers.${index}.${renamed}`;
}

import { z } from 'zod';
import { ModelError } from '../errors.ts';
import type { LayerAttention, ModelConfig, ModelType } from '../model-config.ts';
import { readQuantisation } from './quantisation-keys.ts';

/** Where a checkpoint in safetensors has a tensor: the whole of a stored one, or a part of it. */
export interface StoredAt {
  /** The stored tensor. */
  name: string;
  /** An index of its first axis, where the experts of a layer are stacked. */
  index?: number;
  /** The size of that axis; by default the number of routed experts. */
  of?: number;
  /** Whether the stack's axis and the next are one: its entries lie one after the other, as rows of one matrix. */
  flat?: boolean;
  /**
   * Of that, the rows `first`, `first` + `step`, … where gate and up are one matrix, interleaved or one after the other; `parts`:
   * how many tensors of this size share its rows, 2 by default.
   */
  rows?: { first: number; step: number; parts?: number };
  /** Whether a matrix is stored as [columns, rows]. */
  transposed?: boolean;
}

/** How a config of several models has that of the text model. */
export interface TextConfig {
  /** The key that holds it. */
  key: string;
  /** What its own `model_type` may be. */
  modelTypes: readonly string[];
  /** Keys that may stand beside it instead of in it. */
  outside: readonly string[];
  /** Keys beside it that do not concern text. */
  ignoredKeys: readonly string[];
}

/** One architecture: how its config.json is read and where its checkpoints have their tensors. */
export interface Family<S extends z.ZodObject = z.ZodObject> {
  modelType: ModelType;
  /** Whether its models have no experts, so that they can only draft for another model. */
  isDense?: boolean;
  /** What the one entry of `architectures` may be. */
  architectures: readonly string[];
  /** Where the text model is a part of the config; absent where it is all of it. */
  textConfig?: TextConfig;
  /** The keys that affect inference. Keys with a default may be absent from published configs. */
  schema: S;
  /** Keys beyond `bookkeepingKeys` without effect on inference. Any other key is rejected unless its value is null or false. */
  ignoredKeys: readonly string[];
  /** Where checkpoints have the tensor of a `TensorSpec.name`. */
  storedAt(name: string, config: ModelConfig): StoredAt;
  /** Stored tensors that are not part of the text model, as a vision tower's. */
  ignoredTensors?: readonly RegExp[];
  /** Checks the keys against each other and translates them. `where` names the file in errors. */
  toConfig(raw: z.infer<S>, where: string): ModelConfig;
}

/** For families whose checkpoints have all tensors under their `TensorSpec.name`. */
export const storedAsNamed = (name: string): StoredAt => ({ name });

/** Limits far above any published model, so that a hostile config causes neither absurd allocations nor inexact indices. */
const MAX_DIMENSION = 1 << 20;
export const MAX_LAYERS = 1024;
/** Work items hold 16 bits per expert. */
const MAX_EXPERTS = 0xffff;

export const dimension = z.int().min(1).max(MAX_DIMENSION);
export const layerCount = z.int().min(0).max(MAX_LAYERS);
const atLeastOneLayer = z.int().min(1).max(MAX_LAYERS);
export const headCount = z.int().min(1).max(MAX_LAYERS);
export const expertCount = z.int().min(1).max(MAX_EXPERTS);
export const positive = z.number().positive().finite();
export const tokenId = z.int().min(0).max(MAX_DIMENSION);

/** Keys that every family has. */
export const commonKeys = {
  vocab_size: dimension,
  hidden_size: dimension,
  intermediate_size: dimension,
  num_hidden_layers: atLeastOneLayer,
  num_attention_heads: headCount,
  num_experts_per_tok: expertCount,
  rope_theta: positive.optional(),
  partial_rotary_factor: z.number().positive().max(1).nullish(),
  rope_scaling: z.unknown().optional(),
  rope_parameters: z.unknown().optional(),
  max_position_embeddings: z
    .int()
    .min(1)
    .max(1 << 24),
  rms_norm_eps: positive,
  hidden_act: z.string(),
  attention_bias: z.boolean().default(false),
  mlp_bias: z.boolean().default(false),
  tie_word_embeddings: z.boolean().default(false),
  quantization_config: z.unknown().optional(),
  bos_token_id: tokenId.nullish(),
  eos_token_id: z.union([tokenId, z.array(tokenId).min(1).max(64)]),
} satisfies z.ZodRawShape;

/** Those of a family without experts. */
export const { num_experts_per_tok: _, ...denseKeys } = commonKeys;

export type CommonKeys = z.infer<z.ZodObject<typeof commonKeys>>;

/** Layers that attend to all earlier positions, with RoPE. */
export function fullAttention(numLayers: number): LayerAttention[] {
  return Array.from({ length: numLayers }, () => ({ span: { kind: 'full' }, rope: true }));
}

export function unsupported(where: string, key: string, detail: string): ModelError {
  return new ModelError('unsupported', key, `${where}: ${key} ${detail}`);
}

/** Throws a `contradiction` naming `key` and its value if `wrong`. */
export function refuse<Raw>(raw: Raw, where: string, wrong: boolean, key: keyof Raw & string, detail: string): void {
  if (wrong)
    throw new ModelError('contradiction', key, `${where}: ${key} is ${JSON.stringify(raw[key])} but ${detail}`);
}

/** Throws `unsupported` for alternatives that no family computes. */
export function refuseUnsupportedCommon(raw: Pick<CommonKeys, 'hidden_act' | 'mlp_bias'>, where: string): void {
  if (raw.hidden_act !== 'silu') {
    throw unsupported(where, 'hidden_act', `is "${raw.hidden_act}"; this version computes only "silu"`);
  }
  if (raw.mlp_bias)
    throw unsupported(where, 'mlp_bias', 'is true; this version computes such layers without a bias only');
}

/** Throws `unsupported` for a bias of attention's projections, in families of which no model has one. */
export function refuseAttentionBias(raw: CommonKeys, where: string): void {
  if (raw.attention_bias) {
    throw unsupported(where, 'attention_bias', 'is true; this version computes this family without a bias only');
  }
}

/** Throws `unsupported` for more than one MTP module. */
export function refuseSeveralMtpModules(raw: { num_nextn_predict_layers: number }, where: string): void {
  const modules = raw.num_nextn_predict_layers;
  if (modules > 1) {
    throw unsupported(where, 'num_nextn_predict_layers', `is ${modules}; at most one MTP module is computed`);
  }
}

type CommonConfig = Pick<
  ModelConfig,
  | 'vocabSize'
  | 'hiddenSize'
  | 'intermediateSize'
  | 'numHiddenLayers'
  | 'numExpertsPerTok'
  | 'maxPositionEmbeddings'
  | 'rmsNormEps'
  | 'tieWordEmbeddings'
  | 'embeddingMultiplier'
  | 'residualMultiplier'
  | 'logitsDivisor'
  | 'bosTokenId'
  | 'eosTokenIds'
  | 'quantisation'
>;

/** Translates the common keys and checks token ids against the vocabulary. */
export function commonConfig(raw: CommonKeys, where: string): CommonConfig {
  const eosTokenIds = typeof raw.eos_token_id === 'number' ? [raw.eos_token_id] : raw.eos_token_id;
  const outside = (id: number): boolean => id >= raw.vocab_size;
  refuse(raw, where, outside(raw.bos_token_id ?? 0), 'bos_token_id', `vocab_size is ${raw.vocab_size}`);
  refuse(raw, where, eosTokenIds.some(outside), 'eos_token_id', `vocab_size is ${raw.vocab_size}`);
  return {
    vocabSize: raw.vocab_size,
    hiddenSize: raw.hidden_size,
    intermediateSize: raw.intermediate_size,
    numHiddenLayers: raw.num_hidden_layers,
    numExpertsPerTok: raw.num_experts_per_tok,
    maxPositionEmbeddings: raw.max_position_embeddings,
    rmsNormEps: raw.rms_norm_eps,
    tieWordEmbeddings: raw.tie_word_embeddings,
    embeddingMultiplier: 1,
    residualMultiplier: 1,
    logitsDivisor: 1,
    bosTokenId: raw.bos_token_id ?? null,
    eosTokenIds,
    quantisation: readQuantisation(raw.quantization_config, where),
  };
}

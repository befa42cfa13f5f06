import type { ExpertActivation } from './expert.ts';
import type { Quantisation } from './quantised/quantisation.ts';

/** `model_type` of a config.json. */
export type ModelType =
  | 'deepseek_v2'
  | 'deepseek_v3'
  | 'dots1'
  | 'ernie4_5_moe'
  | 'glm4_moe'
  | 'glm4_moe_lite'
  | 'gpt_oss'
  | 'granitemoe'
  | 'hunyuan_v1_moe'
  | 'kimi_k2'
  | 'kimi_k25'
  | 'llama'
  | 'llama4'
  | 'llama4_text'
  | 'minimax_m2'
  | 'mixtral'
  | 'nllb-moe'
  | 'nomic_bert'
  | 'olmoe'
  | 'qwen2_moe'
  | 'qwen3'
  | 'qwen3_moe'
  | 'shoal_bert'
  | 'switch_transformers';

/** Multi-head latent attention (DeepSeek-V2 paper §2.1). */
export interface MlaConfig {
  kind: 'mla';
  numAttentionHeads: number;
  /** null if queries come from one projection, without a latent. */
  qLoraRank: number | null;
  kvLoraRank: number;
  qkNopeHeadDim: number;
  qkRopeHeadDim: number;
  vHeadDim: number;
  /** Factor of the scores: (nope + rope)^-½, times YaRN's m² where that is configured. */
  softmaxScale: number;
}

/** Grouped-query attention (Ainslie et al. 2023): `numAttentionHeads / numKeyValueHeads` query heads share a key and a value. */
export interface GqaConfig {
  kind: 'gqa';
  numAttentionHeads: number;
  numKeyValueHeads: number;
  /** May differ from hiddenSize / numAttentionHeads. */
  headDim: number;
  /**
   * RMSNorm of queries and keys: over each head, over the whole projection, or none. `l2` is over each head without a gain, and
   * only in layers with RoPE (Llama 4).
   */
  qkNorm: 'none' | 'per-head' | 'whole' | 'l2';
  /** Whether the norm comes after RoPE (Hunyuan) instead of before it. */
  normAfterRope: boolean;
  /** Which projections add a bias. */
  bias: { qkv: boolean; o: boolean };
  /** Whether each query head has a learned logit that takes part in its softmax but has no value (gpt-oss). */
  sinks: boolean;
  /**
   * In layers without RoPE, a query at position p is multiplied by 1 + scale · ln(1 + ⌊(p + 1) / floor⌋) (Llama 4's temperature
   * tuning); null without it.
   */
  temperature: { floor: number; scale: number } | null;
  /** Limit to whose ± queries, keys and values are clamped (after the norm); null without a limit. */
  clipQkv: number | null;
  /** Factor of the scores. */
  softmaxScale: number;
}

export type AttentionConfig = MlaConfig | GqaConfig;

/** Which earlier positions a layer's rows attend to. */
export type AttentionSpan =
  | { kind: 'full' }
  /** A row's own position and the `positions` − 1 before it. */
  | { kind: 'window'; positions: number }
  /** Those of its own chunk: chunk ⌊p / positions⌋. */
  | { kind: 'chunk'; positions: number };

export interface LayerAttention {
  span: AttentionSpan;
  /** Whether RoPE applies. */
  rope: boolean;
}

/** Rotary position embedding (Su et al. 2021) of the last `dim` values of an MLA head, or the first `dim` of a GQA head. */
export interface RopeConfig {
  /** The values that are rotated together: (x0, x1), (x2, x3), … or (x0, x[dim/2]), (x1, x[dim/2 + 1]), … */
  pairs: 'interleaved' | 'halves';
  dim: number;
  /** [dim / 2], radians per position; YaRN's blend applied. */
  inverseFrequencies: Float64Array;
  /** Factor of cosines and sines; 1 without YaRN. */
  attentionFactor: number;
}

/** How a gate's logits become experts and weights. */
export interface GateConfig {
  /** Over all routed experts, in float32. */
  scoring: 'softmax' | 'sigmoid';
  /** Whether `e_score_correction_bias` is added for the selection; it never affects the weights. */
  hasBias: boolean;
  /** Whether the router adds a bias to its logits, for scores and weights alike (gpt-oss). */
  hasLogitBias: boolean;
  /** Whether an expert's input is multiplied by its weight, instead of its output; only with one expert per token (Llama 4). */
  scalesInput: boolean;
  nGroup: number;
  /** Experts are chosen within the best `topkGroup` of `nGroup` groups; equal to `nGroup` without such a limit. */
  topkGroup: number;
  /** A group's score: that of its best expert, or of its best two. */
  groupScore: 'max' | 'sum-of-best-two';
  /** Whether the chosen experts' scores are divided by their sum. */
  normTopkProb: boolean;
  /** Whether normalised weights are multiplied by `routedScalingFactor` too, as other weights always are. */
  scaleWhenNormalised: boolean;
  routedScalingFactor: number;
}

/**
 * A gate of `GATES` that looks at all rows of a sequence, and its settings there. With it, `GateConfig` says no more than whether
 * logits have a bias. `soft` makes slots, which the experts get in the place of rows. In an encoder–decoder a sequence is a source, and
 * each row of a target is one of its own.
 */
export interface SequenceGate {
  name: 'top-1-capacity' | 'top-2-capacity' | 'expert-choice' | 'soft';
  settings: Readonly<Record<string, unknown>>;
  /** What its weights are multiplied by; 1 by default. */
  factor?: number;
}

export type LayerKind = 'dense' | 'moe';

/**
 * What an encoder computes unlike a decoder: each row attends to all of its sequence; residuals are normalised after each addition
 * (LayerNorm with a bias, as BERT); a dense layer's FFN is two matrices with GELU; there is no head.
 */
export interface EncoderConfig {
  /** Which matrices of a dense layer's FFN add a bias. */
  ffnBias: { up: boolean; down: boolean };
  /** Rows of the embedding of token types, of which the first is added to every token; 0 without one. */
  tokenTypes: number;
}

/** How an encoder–decoder knows positions. */
export type Seq2SeqPositions =
  /**
   * A learned bias of attention scores for each bucket of distances and each head, in the encoder and in the decoder's attention
   * to its own rows; the same in all layers of a stack (T5).
   */
  | { kind: 'buckets'; buckets: number; maxDistance: number }
  /** Sines and cosines that are added to the embeddings. A token with this id has none and takes no position (fairseq). */
  | { kind: 'sinusoid'; padTokenId: number };

/**
 * What an encoder–decoder computes unlike a decoder: its first `encoderLayers` layers are a stack of their own, whose rows attend
 * to their whole source; the other layers' rows attend to the rows before them, and to the encoder's last rows as well. An FFN is two
 * matrices with the activation of `expert`, which adds biases where that does.
 */
export interface Seq2SeqConfig {
  /** Layers of the encoder, which are the first in all lists of layers. The decoder's follow. */
  encoderLayers: number;
  /** Before each attention and FFN, and after each stack: RMSNorm, or LayerNorm with a bias. */
  norm: 'rms' | 'layer';
  positions: Seq2SeqPositions;
  /** What a target begins with: the decoder's first token, and one that is always the first of an answer, where there is one. */
  targetPrefix: readonly number[];
}

/** A model's dimensions and options, under the checkpoint's names, as checked by `parseModelConfig`. */
export interface ModelConfig {
  modelType: ModelType;
  vocabSize: number;
  hiddenSize: number;
  /** Width of a dense layer's FFN. */
  intermediateSize: number;
  /** Width of one routed expert; 0 in a dense model. */
  moeIntermediateSize: number;
  /** Width of the shared expert's FFN (several shared experts are stored as one); 0 without one. */
  sharedIntermediateSize: number;
  /** Whether the shared expert's output is multiplied by the sigmoid of a learned projection of its input (Qwen2-MoE). */
  sharedExpertGate: boolean;
  /** The arithmetic of a routed expert; `bias`: whether its matrices add one each. */
  expert: { activation: ExpertActivation; bias: boolean };
  /** Layers of the main model, an encoder–decoder's of both stacks; an MTP module has this index. */
  numHiddenLayers: number;
  /** [numHiddenLayers + numNextnPredictLayers] */
  layerKinds: readonly LayerKind[];
  /** [numHiddenLayers + numNextnPredictLayers] */
  layerAttention: readonly LayerAttention[];
  /** 0 in a dense model, which has no layers with experts. */
  nRoutedExperts: number;
  /** 0 in a dense model. On average where a row may have more or fewer; of a slot, 1. */
  numExpertsPerTok: number;
  attention: AttentionConfig;
  rope: RopeConfig;
  gate: GateConfig;
  /** Absent where the gate looks at each row alone, as `gate` says. */
  sequenceGate?: SequenceGate;
  maxPositionEmbeddings: number;
  /** Of an encoder's LayerNorm too. */
  rmsNormEps: number;
  tieWordEmbeddings: boolean;
  /** Factor of the embeddings (Granite); 1 elsewhere. */
  embeddingMultiplier: number;
  /** Factor of what attention and FFN add to the residual (Granite); 1 elsewhere. */
  residualMultiplier: number;
  /** What logits are divided by (Granite); 1 elsewhere. */
  logitsDivisor: number;
  /** MTP modules in the checkpoint: 0 or 1. */
  numNextnPredictLayers: number;
  /** Which hidden state of the main model its MTP module reads: after the final norm, or before it. No published key says. */
  mtpHidden: 'after-norm' | 'before-norm';
  /** null if the model has no begin-of-text token. */
  bosTokenId: number | null;
  /** Any of these ends a text; at least one, but for encoders. */
  eosTokenIds: readonly number[];
  /** How a checkpoint in safetensors has its weights quantised; null if they are BF16, F16 or F32. */
  quantisation: Quantisation | null;
  /** Absent for decoders. */
  encoder?: EncoderConfig;
  /** Of an encoder–decoder only. */
  seq2seq?: Seq2SeqConfig;
}

/** Layers that keep keys and values of an answer's rows: of an encoder–decoder the decoder's. */
export function numDecoderLayers({
  numHiddenLayers,
  seq2seq,
}: Pick<ModelConfig, 'numHiddenLayers' | 'seq2seq'>): number {
  return numHiddenLayers - (seq2seq?.encoderLayers ?? 0);
}

/**
 * The most positions of a sequence. An encoder–decoder's holds its source and then its answer, each of `maxPositionEmbeddings` at
 * most.
 */
export function contextLength({
  maxPositionEmbeddings,
  seq2seq,
}: Pick<ModelConfig, 'maxPositionEmbeddings' | 'seq2seq'>): number {
  return maxPositionEmbeddings * (seq2seq ? 2 : 1);
}

/** Whether a layer has routed experts. The MTP module's layer has the index `numHiddenLayers`. */
export function isMoeLayer(config: Pick<ModelConfig, 'layerKinds'>, layer: number): boolean {
  return config.layerKinds[layer] === 'moe';
}

/** Whether no layer has routed experts, so that tabs have nothing to hold. */
export function isDenseModel(config: Pick<ModelConfig, 'layerKinds'>): boolean {
  return expertLayers(config).length === 0;
}

/** The main model's layers that have routed experts, ascending. Each takes one lap per pass through it. */
export function moeLayers(config: Pick<ModelConfig, 'layerKinds' | 'numHiddenLayers'>): number[] {
  return expertLayers(config).filter((layer) => layer < config.numHiddenLayers);
}

/** Those of them that a token of an answer passes, with a lap each: an encoder–decoder's encoder has only seen the source. */
export function answerLayers(config: Pick<ModelConfig, 'layerKinds' | 'numHiddenLayers' | 'seq2seq'>): number[] {
  return moeLayers(config).filter((layer) => layer >= (config.seq2seq?.encoderLayers ?? 0));
}

/** All layers that have routed experts, ascending: the main model's, then the MTP module's. */
export function expertLayers({ layerKinds }: Pick<ModelConfig, 'layerKinds'>): number[] {
  return [...layerKinds.keys()].filter((layer) => isMoeLayer({ layerKinds }, layer));
}

/** The config of a checkpoint that was stored without its MTP module. */
export function withoutMtp(config: ModelConfig): ModelConfig {
  const { numHiddenLayers, layerKinds, layerAttention } = config;
  return {
    ...config,
    numNextnPredictLayers: 0,
    layerKinds: layerKinds.slice(0, numHiddenLayers),
    layerAttention: layerAttention.slice(0, numHiddenLayers),
  };
}

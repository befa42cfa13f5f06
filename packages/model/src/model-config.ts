/** `model_type` of a config.json. */
export type ModelType = 'deepseek_v2' | 'deepseek_v3' | 'qwen3_moe' | 'olmoe' | 'mixtral';

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
  /** RMSNorm of queries and keys before RoPE: over each head, over the whole projection, or none. */
  qkNorm: 'none' | 'per-head' | 'whole';
  /** Limit to whose ± queries, keys and values are clamped (after the norm); null without a limit. */
  clipQkv: number | null;
  /** Factor of the scores. */
  softmaxScale: number;
}

export type AttentionConfig = MlaConfig | GqaConfig;

/** Rotary position embedding (Su et al. 2021) of the last `dim` values of a head. */
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

export type LayerKind = 'dense' | 'moe';

/** A model's dimensions and options, under the checkpoint's names, as checked by `parseModelConfig`. */
export interface ModelConfig {
  modelType: ModelType;
  vocabSize: number;
  hiddenSize: number;
  /** Width of a dense layer's FFN. */
  intermediateSize: number;
  /** Width of one routed expert. */
  moeIntermediateSize: number;
  /** Width of the shared expert's FFN (several shared experts are stored as one); 0 without one. */
  sharedIntermediateSize: number;
  /** Layers of the main model; an MTP module has this index. */
  numHiddenLayers: number;
  /** [numHiddenLayers + numNextnPredictLayers] */
  layerKinds: readonly LayerKind[];
  nRoutedExperts: number;
  numExpertsPerTok: number;
  attention: AttentionConfig;
  rope: RopeConfig;
  gate: GateConfig;
  maxPositionEmbeddings: number;
  rmsNormEps: number;
  tieWordEmbeddings: boolean;
  /** MTP modules in the checkpoint: 0 or 1. */
  numNextnPredictLayers: number;
  /** Which hidden state of the main model its MTP module reads: after the final norm, or before it. No published key says. */
  mtpHidden: 'after-norm' | 'before-norm';
  /** null if the model has no begin-of-text token. */
  bosTokenId: number | null;
  /** Any of these ends a text; at least one. */
  eosTokenIds: readonly number[];
  /** Rows and columns that share one scale in an FP8 checkpoint; null if its weights are BF16, F16 or F32. */
  fp8BlockSize: readonly [rows: number, columns: number] | null;
}

/** Whether a layer has routed experts. The MTP module's layer has the index `numHiddenLayers`. */
export function isMoeLayer(config: Pick<ModelConfig, 'layerKinds'>, layer: number): boolean {
  return config.layerKinds[layer] === 'moe';
}

/** The main model's layers that have routed experts, ascending. Each takes one lap per pass. */
export function moeLayers(config: Pick<ModelConfig, 'layerKinds' | 'numHiddenLayers'>): number[] {
  return expertLayers(config).filter((layer) => layer < config.numHiddenLayers);
}

/** All layers that have routed experts, ascending: the main model's, then the MTP module's. */
export function expertLayers({ layerKinds }: Pick<ModelConfig, 'layerKinds'>): number[] {
  return [...layerKinds.keys()].filter((layer) => isMoeLayer({ layerKinds }, layer));
}

/** The config of a checkpoint that was stored without its MTP module. */
export function withoutMtp(config: ModelConfig): ModelConfig {
  return { ...config, numNextnPredictLayers: 0, layerKinds: config.layerKinds.slice(0, config.numHiddenLayers) };
}

/** A model's dimensions and choices, in the checkpoint's own terms. Every field has been checked by `parseModelConfig`. */
export interface ModelConfig {
  modelType: 'deepseek_v3';
  vocabSize: number;
  hiddenSize: number;
  /** Width of a dense layer's FFN. */
  intermediateSize: number;
  /** Width of one routed expert; the shared expert is `nSharedExperts` times as wide. */
  moeIntermediateSize: number;
  /** Layers of the main model; an MTP module follows at this index. */
  numHiddenLayers: number;
  firstKDenseReplace: number;
  moeLayerFreq: number;
  numAttentionHeads: number;
  /** null: queries come from one projection, without a latent. */
  qLoraRank: number | null;
  kvLoraRank: number;
  qkNopeHeadDim: number;
  qkRopeHeadDim: number;
  vHeadDim: number;
  nRoutedExperts: number;
  nSharedExperts: number;
  numExpertsPerTok: number;
  nGroup: number;
  topkGroup: number;
  topkMethod: 'noaux_tc';
  scoringFunc: 'sigmoid';
  normTopkProb: boolean;
  routedScalingFactor: number;
  ropeTheta: number;
  maxPositionEmbeddings: number;
  rmsNormEps: number;
  hiddenAct: 'silu';
  tieWordEmbeddings: boolean;
  /** MTP modules in the checkpoint: 0 or 1. */
  numNextnPredictLayers: number;
  bosTokenId: number;
  /** Any of these ends a text; at least one. */
  eosTokenIds: number[];
}

/** Whether a layer has routed experts. The MTP module (index `numHiddenLayers`) has, being a layer of the later kind. */
export function isMoeLayer(config: ModelConfig, layer: number): boolean {
  return layer >= config.firstKDenseReplace && layer % config.moeLayerFreq === 0;
}

/** The main model's layers that have routed experts, ascending; each is one lap per token. */
export function moeLayers(config: ModelConfig): number[] {
  return Array.from({ length: config.numHiddenLayers }, (_, layer) => layer).filter((layer) =>
    isMoeLayer(config, layer),
  );
}

/** Width of the shared expert's FFN; 0 if there is none. */
export function sharedIntermediateSize(config: ModelConfig): number {
  return config.nSharedExperts * config.moeIntermediateSize;
}

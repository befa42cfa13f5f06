export {
  type ChatMessage,
  type ChatOptions,
  ChatTemplate,
  type ChatTool,
  type ChatToolCall,
  variablesFault,
} from './chat-template.ts';
export {
  type Adapter,
  ADAPTER_TARGETS,
  type AdapterLayer,
  type AdapterTarget,
  type EngineAdapter,
  type ExpertAdapter,
  type ExpertAdapters,
  type HeldAdapter,
  type LowRank,
  MAX_ADAPTER_RANK,
  MAX_MIXTURE_RANK,
  type Mixture,
} from './adapters/adapter.ts';
export { checkScalings, firstPassScalings } from './adapters/mixture.ts';
export { computeScalings, type FirstPassResult, type FirstPassRow } from './first-pass.ts';
export {
  adapterRange,
  type AdapterScales,
  copyAdapters,
  isAdapted,
  type ItemAdapters,
  ItemAdaptersBuilder,
} from './adapters/item-adapters.ts';
export { AdapterError, type AdapterErrorReason } from './adapters/adapter-error.ts';
export { RowFaults } from './row-faults.ts';
export { parseModelConfig } from './config.ts';
export {
  assignmentsOfCall,
  checkCombined,
  chooserOf,
  type ExpertDispatch,
  itemOfCall,
  type MoeCall,
  NO_EXPERT,
  topkOfAssignments,
} from './dispatch.ts';
export { CheckpointError, messageOf, ModelError } from './errors.ts';
export {
  activate,
  addBias,
  EXPERT_ACTIVATIONS,
  type ExpertActivation,
  type ExpertWeights,
  isGated,
  runExpert,
  swigluExpert,
  type SwigluWeights,
} from './expert.ts';
export { type ExpertLimit, expertLimit, type ExpertNorms, expertNorms } from './expert-limit.ts';
export type { Int4Rows } from './int4.ts';
export { decodeF16, encodeF16, f16Exponent, f16ToF32, f32ToF16, MAX_F16_EXPONENT } from './f16.ts';
export { meanEmbedding } from './embedding.ts';
export { checkSequences, type EncodeResult } from './encoder.ts';
export {
  createReferenceEncoder,
  createReferenceEngine,
  createReferenceSeq2Seq,
  type EngineMtpRow,
  type EngineRow,
  type EngineSource,
  type ForwardEngine,
  type KvPageBudget,
  type SourceResult,
} from './forward-engine.ts';
export type { PageTable, SequenceCache, SequencePages } from './sequence-cache.ts';
export type { DraftHead, HeadResult } from './heads/draft-head.ts';
export { DraftVocabulary } from './heads/draft-vocabulary.ts';
export { blockRows } from './heads/dflash.ts';
export { forwardEagle3 } from './heads/eagle3.ts';
export type { HeadConfig } from './heads/head-config.ts';
export type { EngineContextRow, EngineDraftBlock, EngineEagle3Row, HeadEngine } from './heads/head-engine.ts';
export { headTensors, loadHeadWeights } from './heads/head-tensors.ts';
export { parseHeadConfig } from './heads/parse-head-config.ts';
export {
  Auxiliary,
  checkTokens,
  forward,
  type ForwardResult,
  type HeadRow,
  masksAfterLayers,
  type Model,
} from './forward.ts';
export { selectExperts } from './gate.ts';
export { gateWidth, slotsPerSequence } from './gate-width.ts';
export { type LayerRows, type RoutedPass, routeRows, type Routing } from './routing.ts';
export { type LimitedChoice, limitDevices } from './gates/device-limited.ts';
export { type Assignments, type GateKind, type GateLayer, type GateRows, type Slots } from './gates/gate-kind.ts';
export { randomHashTable } from './gates/hash.ts';
export { GATES, type GateName, openGate } from './gates/index.ts';
export { mixIntoRows, mixIntoSlots } from './gates/soft.ts';
export { settingsOf } from './gates/top-k.ts';
export { queryTemperature } from './gqa.ts';
export { keptPositions, type KvPaging, kvPaging, onePageTable, pageTablesOfLayers } from './kv-paging.ts';
export { checkKeep, checkTruncate, KvCache, kvWidth, plainMhaWidth, type RowSlots } from './kv-cache.ts';
export type { ForwardObserver, ForwardSegment, GateSeen } from './forward-observer.ts';
export { claimPositions } from './layer.ts';
export { LocalExperts } from './local-experts.ts';
export { LATENT_NORM_EPS, splitKvB } from './mla.ts';
export {
  answerLayers,
  expertLayers,
  type AttentionConfig,
  contextLength,
  type EncoderConfig,
  type SequenceGate,
  type GateConfig,
  type GqaConfig,
  isDenseModel,
  isMoeLayer,
  type MlaConfig,
  type ModelConfig,
  moeLayers,
  numDecoderLayers,
  type Seq2SeqConfig,
  type Seq2SeqPositions,
  withoutMtp,
} from './model-config.ts';
export { forwardMtp, NO_MTP } from './mtp.ts';
export { decodeMxfp4, e2m1Of, E8M0_NAN, e8m0Of, MXFP4_BLOCK, type Mxfp4Rows } from './mxfp4.ts';
export { scoredWindows, scorePerplexity } from './perplexity.ts';
export { encodeSource } from './seq2seq/encode-source.ts';
export type { Seq2SeqModel } from './seq2seq/model.ts';
export { addSinusoid, distanceBucket, sinusoidPlaces } from './seq2seq/positions.ts';
export { createRng, normalDraw, type Rng } from './rng.ts';
export { ropeAngles } from './rope.ts';
export { parseHeader, PREFIX_BYTES, readHeaderLength, type TensorTable, toFloat32 } from './safetensors.ts';
export {
  allows,
  changeLogits,
  type LogitChanges,
  maskWords,
  nothingAllowed,
  type Penalties,
  type TokenMask,
} from './logit-changes.ts';
export { storedShape } from './quantised/stored-matrix.ts';
export { argmax, leastGap, logitsError, sample } from './sampler.ts';
export {
  denseTensors,
  encoderTensors,
  expertTensors,
  layerTensors,
  listDenseTensors,
  listTensorSpecs,
  seq2seqTensors,
  TensorSpec,
} from './tensors.ts';
export {
  answerOf,
  answerQuery,
  checkQueries,
  MAX_TOP_LOGPROBS,
  type QueryRow,
  type RowAnswer,
  type SamplingParams,
  type SettledMask,
  settleMasks,
  type TokenQuery,
  type TokenAnswer,
} from './token-query.ts';
export { TooManyTokensError } from './bpe-bounds.ts';
export { TooManyStepsError } from './jinja/budget.ts';
export { MarkRunError } from './normal-form.ts';
export { Tokenizer } from './tokenizer.ts';
export { type TemplateTraits } from './template-traits.ts';
export { loadDenseWeights, loadEncoderWeights, loadExpert, loadSeq2SeqWeights, type TensorReader } from './weights.ts';
export {
  copyWorkItem,
  halfRows,
  type Int8Rows,
  pickAssignments,
  readRow,
  readRows,
  type RowOutliers,
  rowRange,
  type RowSource,
  rowsOfAssignments,
  rowStart,
  type AssignedRow,
  type RowWork,
  sliceRows,
  uniformRowEnd,
  uniformWorkItem,
  type WorkItem,
  workItemOfRows,
} from './work-item.ts';

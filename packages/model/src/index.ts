export type { AttentionInput, RowPlace } from './attention.ts';
export * from './chat-template.ts';
export * from './config.ts';
export * from './check-tensors.ts';
export * from './dispatch.ts';
export * from './errors.ts';
export * from './expert.ts';
export * from './f16.ts';
export * from './forward.ts';
export * from './forward-engine.ts';
export * from './fp8.ts';
export * from './gate.ts';
export type { GqaWeights } from './gqa.ts';
export * from './kv-cache.ts';
export { type Claim, claimPositions, type ForwardObserver, type ForwardSegment } from './layer.ts';
export * from './local-experts.ts';
export * from './math.ts';
export { splitKvB, type MlaWeights } from './mla.ts';
export * from './mtp.ts';
export * from './perplexity.ts';
export * from './rng.ts';
export * from './rope.ts';
export * from './safetensors.ts';
export * from './sampler.ts';
export * from './tensors.ts';
export * from './tokenizer.ts';
export * from './weights.ts';
export {
  type AssignedRow,
  copyWorkItem,
  type Int8Rows,
  pickAssignments,
  rowRange,
  type RowSource,
  rowStart,
  type RowWork,
  sliceRows,
  uniformRowEnd,
  uniformWorkItem,
  type WorkItem,
  workItemOfRows,
} from './work-item.ts';
export * from './token-query.ts';

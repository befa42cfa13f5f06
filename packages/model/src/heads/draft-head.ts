import type { ForwardResult } from '../forward.ts';
import type { DraftVocabulary } from './draft-vocabulary.ts';
import type { HeadConfig } from './head-config.ts';
import type { HeadWeights } from './head-tensors.ts';

/** A head, whole. */
export interface DraftHead {
  config: HeadConfig;
  weights: HeadWeights;
  vocabulary: DraftVocabulary;
}

/**
 * As of a forward. Logits are of the head's own tokens, [draftVocabSize], answers of the target's. `hidden` [numRows, hiddenSize] is
 * what the next depth goes on from.
 */
export type HeadResult = Pick<ForwardResult, 'logits' | 'answers' | 'faults' | 'hidden'>;

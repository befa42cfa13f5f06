import type { ForwardResult, HeadEngine, SequenceCache } from '@shoal/model';
import type { BatchEntry } from '../batch/batch.ts';
import type { Sequence } from '../sequence.ts';
import { positionsWithHidden } from './drafter.ts';
import type { DrafterPosition } from './drafter-stream.ts';

/** What heads have in common: they read hidden states of several of the model's layers, and make no lap. */
export abstract class HeadDraftEngine {
  /** An assumption, which experience soon outweighs. */
  readonly firstPrior = 0.75;
  readonly lapsPerDraft = 0;
  protected readonly head: HeadEngine;
  /** Values that a position's hidden states have together. */
  readonly #width: number;

  constructor(head: HeadEngine) {
    this.head = head;
    this.#width = head.config.auxiliaryLayers.length * head.config.targetHiddenSize;
  }

  get kvBytesPerToken(): number {
    return this.head.kvBytesPerToken;
  }

  openCache({ pages }: Sequence, length: number): SequenceCache {
    return pages ? this.head.sequenceOn(pages, length) : this.head.newSequence();
  }

  positionsOf(entry: BatchEntry, { auxiliary }: ForwardResult): DrafterPosition[] {
    if (!auxiliary) throw new TypeError('the engine gave no hidden states for its head');
    return positionsWithHidden(entry, auxiliary, this.#width);
  }
}

import type {
  EngineContextRow,
  EngineDraftBlock,
  ForwardResult,
  HeadEngine,
  RowAnswer,
  SequenceCache,
} from '@shoal/model';
import type { BatchEntry } from '../batch/batch.ts';
import type { Sequence } from '../sequence.ts';
import { type DraftEngine, type DraftResult, type DraftRow, positionsWithHidden } from './drafter.ts';
import type { DrafterPosition } from './drafter-stream.ts';

/**
 * A DFlash head (Chen et al. 2026), which makes the drafts of all depths in one call: with the first depth's call, what is asked
 * about further depths is answered too, and their own calls only look it up. The answers of a depth are the same whatever the
 * drafts before it, so a tree's nodes of one depth have the same children. A row's `hidden` is its depth.
 */
export class DFlashEngine implements DraftEngine {
  readonly kind = 'dflash';
  /** In published measurements 70 to 85 % of first drafts are right on text like that of the head's training. */
  readonly firstPrior = 0.75;
  readonly lapsPerDraft = 0;
  readonly mostDepth: number;
  readonly #head: HeadEngine;
  /** Values that a position's hidden states have together. */
  readonly #width: number;
  /** Of each sequence's latest block, by depth − 1. */
  readonly #answers = new WeakMap<SequenceCache, readonly (RowAnswer | undefined)[]>();

  constructor(head: HeadEngine) {
    const { head: kind, auxiliaryLayers, targetHiddenSize } = head.config;
    if (kind.kind !== 'dflash') throw new TypeError('this head is no DFlash head');
    this.#head = head;
    this.#width = auxiliaryLayers.length * targetHiddenSize;
    this.mostDepth = kind.blockSize - 1;
  }

  get kvBytesPerToken(): number {
    return this.#head.kvBytesPerToken;
  }

  openCache({ pages }: Sequence, length: number): SequenceCache {
    return pages ? this.#head.sequenceOn(pages, length) : this.#head.newSequence();
  }

  /** The head's context is all positions before the last known token. */
  positionsOf(entry: BatchEntry, { auxiliary }: ForwardResult): DrafterPosition[] {
    if (!auxiliary) throw new TypeError('the engine gave no hidden states for its head');
    return positionsWithHidden(entry, auxiliary, this.#width);
  }

  async forward(rows: readonly DraftRow[]): Promise<DraftResult> {
    if (!rows[0]!.isOwn) await this.#addContext(rows);
    const depths = rows.map(({ isOwn, hidden }) => (isOwn ? hidden[0]! + 1 : 1));
    return {
      answers: rows.map(({ cache, query }, i) => query && this.#answers.get(cache)?.[depths[i]! - 1]),
      hidden: Float32Array.from(depths),
    };
  }

  /** Adds known positions to the context, and makes the blocks of the sequences that want drafts. */
  async #addContext(rows: readonly DraftRow[]): Promise<void> {
    const lengths = new Map(rows.map(({ cache }) => [cache, cache.length]));
    try {
      await this.#head.addContext(
        rows.map(({ hidden, position, cache }): EngineContextRow => ({ hidden, position, cache })),
      );
      const asking = rows.filter(({ query }) => query);
      if (asking.length === 0) return;
      const blocks = asking.map(({ cache, position, nextTokenId, query, ahead }): EngineDraftBlock => {
        // A block's rows take places behind the text until they are computed.
        const length = Math.min(this.mostDepth, 1 + (ahead?.room ?? 0));
        const queries = Array.from({ length }, (_, i) => (i === 0 ? query : ahead?.query(i)));
        return { tokenId: nextTokenId, position: position + 1, cache, queries };
      });
      const { answers } = await this.#head.forwardBlocks(blocks);
      let end = 0;
      for (const { cache, queries } of blocks) {
        const first = end + 1;
        end = first + queries.length;
        this.#answers.set(cache, answers.slice(first, end));
      }
    } catch (error) {
      for (const [cache, length] of lengths) cache.truncate(Math.min(length, cache.length));
      throw error;
    }
  }
}

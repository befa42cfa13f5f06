import type { EngineContextRow, EngineDraftBlock, HeadEngine, RowAnswer, SequenceCache } from '@shoal/model';
import type { DraftEngine, DraftResult, DraftRow } from './drafter.ts';
import { HeadDraftEngine } from './head-engine.ts';

/**
 * A DFlash head (Chen et al. 2026), which makes the drafts of all depths in one call: with the first depth's call, what is asked
 * about further depths is answered too, and their own calls only look it up. The answers of a depth are the same whatever the
 * drafts before it, so a tree's nodes of one depth have the same children. A row's `hidden` is its depth. The head's context is
 * all positions before the last known token.
 */
export class DFlashEngine extends HeadDraftEngine implements DraftEngine {
  readonly kind = 'dflash';
  readonly mostDepth: number;
  /** Of each sequence's latest block, by depth − 1. */
  readonly #answers = new WeakMap<SequenceCache, readonly (RowAnswer | undefined)[]>();

  constructor(head: HeadEngine) {
    super(head);
    const { head: kind } = head.config;
    if (kind.kind !== 'dflash') throw new TypeError('this head is no DFlash head');
    this.mostDepth = kind.blockSize - 1;
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
      await this.head.addContext(
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
      const { answers } = await this.head.forwardBlocks(blocks);
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

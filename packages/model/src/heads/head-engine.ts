import type { SequenceCache, SequencePages } from '../sequence-cache.ts';
import type { Model } from '../forward.ts';
import { KvCache } from '../kv-cache.ts';
import type { DraftHead, HeadResult } from './draft-head.ts';
import { addContext, type ContextRow, type DraftBlock, forwardBlocks } from './dflash.ts';
import { type Eagle3Row, forwardEagle3 } from './eagle3.ts';
import type { HeadConfig } from './head-config.ts';

/** A row for an EAGLE-3 head in an engine. */
export type EngineEagle3Row = Eagle3Row<SequenceCache>;
/** Rows and blocks for a DFlash head. */
export type EngineContextRow = ContextRow<SequenceCache>;
export type EngineDraftBlock = DraftBlock<SequenceCache>;

/** Computes a head. Rows, caches and failures as in `ForwardEngine`. */
export interface HeadEngine {
  readonly config: HeadConfig;
  /** Bytes of its KV cache for one position of one sequence. */
  readonly kvBytesPerToken: number;
  newSequence(): SequenceCache;
  /** A cache of a sequence on lent pages, as `mtpSequenceOn`. */
  sequenceOn(pages: SequencePages, length: number): SequenceCache;
  /** As `forwardEagle3`, errors included. */
  forwardEagle3(rows: readonly EngineEagle3Row[]): Promise<HeadResult>;
  /** As `addContext` and `forwardBlocks`, errors included. */
  addContext(rows: readonly EngineContextRow[]): Promise<void>;
  forwardBlocks(blocks: readonly EngineDraftBlock[]): Promise<HeadResult>;
}

export function createReferenceHead(head: DraftHead, target: Model): HeadEngine {
  const { transformer } = head.config;
  return {
    config: head.config,
    kvBytesPerToken: new KvCache(transformer).bytesPerToken,
    newSequence: () => new KvCache(transformer),
    sequenceOn: () => {
      throw new TypeError('the reference engine has no pages to lend');
    },
    addContext: async (rows) => addContext(head, rows.map(withOwnCache)),
    forwardBlocks: async (blocks) => forwardBlocks(head, target, blocks.map(withOwnCache)),
    forwardEagle3: async (rows) => forwardEagle3(head, target, rows.map(withOwnCache)),
  };
}

function withOwnCache<Row extends { cache: SequenceCache }>(row: Row): Row & { cache: KvCache } {
  if (row.cache instanceof KvCache) return { ...row, cache: row.cache };
  throw new TypeError("a sequence of another engine: use this engine's newSequence()");
}

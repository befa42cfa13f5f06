import type { ExpertDispatch, ForwardEngine, SequenceCache } from '@shoal/model';
import { KvPages } from '../kv/kv-pages.ts';
import type { PagedSequence } from '../kv/paged-sequence.ts';
import type { Sequence } from '../sequence.ts';
import type { BatchEntry } from '../batch/batch.ts';
import type { DraftEngine, DraftResult, DraftRow, DraftsWithin } from './drafter.ts';
import type { DrafterPosition } from './drafter-stream.ts';

/** Room is reserved for so many positions beyond the text, again and again: most answers end long before their limit. */
const AHEAD = 512;
/** Nodes of a tree at most, which take places behind the text until the next pass. */
const MOST_NODES = 64;
/** Rows of a call for known positions: a few are always worth one, as they read the weights once. */
const LEAST_ROWS = 8;
const MOST_ROWS = 256;
/** Weight of the latest call in the time of a row. */
const ROW_WEIGHT = 1 / 8;

const NO_HIDDEN = new Float32Array();

const noExperts: ExpertDispatch = {
  dispatch: () => {
    throw new TypeError('a draft model has no experts');
  },
};

/** A sequence's place in the draft model's KV cache. */
interface Place {
  cache: SequenceCache;
  /** Undefined if the KV cache is not paged. */
  pages: PagedSequence | undefined;
  /** Positions that are reserved. */
  limit: number;
  /** The next position to hand out. */
  next: number;
}

export interface DraftModelOptions {
  /** Of a dense model with the tokens of the main one. */
  engine: ForwardEngine;
  /** A clock in milliseconds. */
  now?: () => number;
}

/**
 * A small dense model that drafts (speculative decoding as in Leviathan et al. 2023), whole on the coordinator. Its KV cache has
 * pages of its own. It reads tokens only, so it can catch up with a text at any time.
 */
export class DraftModelEngine implements DraftEngine {
  readonly kind = 'draft-model';
  /** Leviathan et al. (2023, table 3) measured 0.53 to 0.82 between small and large models of one family. */
  readonly firstPrior = 0.7;
  readonly lapsPerDraft = 0;
  readonly keepsUp = false;
  /** In the main model's pages; the pages of its own are counted by `kvBytesInUse`. */
  readonly kvBytesPerToken = 0;
  readonly #engine: ForwardEngine;
  readonly #now: () => number;
  readonly #pages: KvPages | undefined;
  readonly #bytesPerPage: number;
  readonly #places = new WeakMap<Sequence, Place>();
  /** Places of sequences that have ended, until no pass drafts for them. */
  readonly #retired = new Map<Sequence, Place>();
  #rowMs: number | undefined;

  constructor({ engine, now = () => performance.now() }: DraftModelOptions) {
    this.#engine = engine;
    this.#now = now;
    const budget = engine.lendPages();
    this.#pages = budget && new KvPages({ ...budget, maxRows: MOST_ROWS + MOST_NODES });
    this.#bytesPerPage = budget?.bytesPerPage ?? 0;
  }

  /** KV cache of sequences that are drafted for, and of those that have ended, kept for others that begin alike. */
  get kvBytes(): { inUse: number; kept: number } {
    this.#freeRetired();
    const { heldPages = 0, idlePages = 0 } = this.#pages ?? {};
    return { inUse: heldPages * this.#bytesPerPage, kept: idlePages * this.#bytesPerPage };
  }

  rowsWithin(ms: number): number {
    if (this.#rowMs === undefined) return LEAST_ROWS;
    return Math.max(LEAST_ROWS, Math.min(MOST_ROWS, Math.floor(ms / this.#rowMs)));
  }

  /** Undefined if no room is left, or none for so long a text, or if nothing is to be drafted. */
  openCache(sequence: Sequence): SequenceCache | undefined {
    this.#freeRetired();
    const { ids, request } = sequence;
    const limit = this.#wantedLimit(sequence);
    // The first token is drawn from the prompt's last row, and the last one needs no draft.
    if (ids.length > limit || request.maxTokens < 3) return undefined;
    const pages = this.#pages?.open(ids, limit, request.cacheScope ?? '');
    if (this.#pages && !pages) return undefined;
    const cache = pages ? this.#engine.sequenceOn(pages) : this.#engine.newSequence();
    const place = { cache, pages, limit, next: cache.length };
    this.#places.set(sequence, place);
    const retire = (): unknown => this.#retired.set(sequence, place);
    if (sequence.finished) retire();
    else sequence.whenEnded(retire);
    return cache;
  }

  /** Undefined once the text is longer than the model's context or its KV cache. */
  positionsOf({ sequence }: BatchEntry): DrafterPosition[] | undefined {
    const place = this.#places.get(sequence)!;
    const { ids, cache } = sequence;
    // Known tokens only: drafts that were drafted on from have left the cache.
    place.pages?.commit(ids.slice(0, place.cache.length));
    // As far as the main model is, and the token after that if it is known. Nothing is drafted after the last token.
    const end = Math.min(cache!.length + 1, sequence.finished ? ids.length - 1 : ids.length);
    if (end + MOST_NODES > place.limit) this.#extend(sequence, place);
    if (end > place.limit) {
      place.cache.free();
      return undefined;
    }
    const positions: DrafterPosition[] = [];
    for (; place.next < end; place.next++) {
      positions.push({ hidden: NO_HIDDEN, nextTokenId: ids[place.next]!, position: place.next });
    }
    return positions;
  }

  roomOf(sequence: Sequence): number {
    return Math.max(0, this.#places.get(sequence)!.limit - sequence.ids.length);
  }

  async forward(rows: readonly DraftRow[], { observe }: DraftsWithin): Promise<DraftResult> {
    const startedMs = this.#now();
    const own = rows.map(({ nextTokenId, position, cache, slots, query }) => {
      return { tokenId: nextTokenId, position, cache, slots, query };
    });
    const segment = observe?.segment;
    const { answers } = await this.#engine.forward(own, noExperts, segment ? { segment } : {});
    if (rows.length >= LEAST_ROWS) {
      const rowMs = (this.#now() - startedMs) / rows.length;
      this.#rowMs = this.#rowMs === undefined ? rowMs : this.#rowMs + ROW_WEIGHT * (rowMs - this.#rowMs);
    }
    return { answers, hidden: NO_HIDDEN };
  }

  #extend(sequence: Sequence, place: Place): void {
    const limit = this.#wantedLimit(sequence);
    if (!place.pages || place.pages.extend(limit)) place.limit = Math.max(place.limit, limit);
  }

  /** So many positions may be needed soon, within the model's own context. */
  #wantedLimit({ ids, request }: Sequence): number {
    const end = request.promptIds.length + request.maxTokens;
    return Math.min(end, ids.length + AHEAD, this.#engine.config.maxPositionEmbeddings);
  }

  /** Frees what no call uses any more: a sequence is drafted for within its passes. */
  #freeRetired(): void {
    for (const [sequence, { cache }] of this.#retired) {
      if (sequence.inPass) continue;
      cache.free();
      this.#retired.delete(sequence);
    }
  }
}

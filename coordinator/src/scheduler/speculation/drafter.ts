import type { ForwardObserver, ForwardResult, RowSlots, SequenceCache, TokenQuery } from '@shoal/model';
import type { PassName } from '../../timeline/timeline.ts';
import type { BatchEntry } from '../batch/batch.ts';
import type { Grace } from '../grace.ts';
import type { Sequence } from '../sequence.ts';
import type { DrafterPosition, DrafterStream, DrafterTraits } from './drafter-stream.ts';
import type { PossibleDrafts } from './shape.ts';

/** A sequence whose pending positions are to be computed, and the drafts that it wants then. */
export interface DraftRequest {
  sequence: Sequence;
  stream: DrafterStream;
  /** How far ahead, and how far even where no draft is likely. */
  depth: number;
  leastDepth: number;
  /** How likely a draft must be to be worth its row. */
  worth: number;
  /** Nodes that are drafted on from at most: each takes a slot of the drafter's cache. */
  room: number;
  /** Whether only the draws are drafted, one after another. */
  isChain: boolean;
}

/** The pass that the drafts are made for, its observer, and how long it waits for what constraints say about drafts. */
export interface DraftsWithin {
  pass?: PassName;
  observe?: ForwardObserver;
  grace?: Grace;
}

/** A model that drafts. */
export interface Drafter extends DrafterTraits {
  /** What it holds for a new sequence. */
  begin(): DrafterStream;
  /** Queues the entry's accepted rows. Called when a pass has computed them and the sequence has advanced. */
  note(entry: BatchEntry, result: ForwardResult, stream: DrafterStream): void;
  /** Whether the pending positions should be computed although no draft is wanted. */
  isDue(sequence: Sequence, stream: DrafterStream): boolean;
  /** Whether it has failed so often that the sequence should go on without it. */
  hasGivenUp(stream: DrafterStream): boolean;
  /**
   * Computes the pending positions of these sequences (each has some), and the drafts that each wants; fewer where an end of text
   * is expected or the drafter fails. Never throws.
   */
  draft(requests: readonly DraftRequest[], within?: DraftsWithin): Promise<Map<Sequence, PossibleDrafts>>;
}

/** One row of a `DraftEngine`. */
export interface DraftRow extends DrafterPosition {
  cache: SequenceCache;
  slots?: RowSlots;
  query?: TokenQuery | undefined;
  /** Whether `hidden` is the engine's own, of the depth before, and `nextTokenId` a draft. */
  isOwn: boolean;
  /**
   * Of a row that gives first drafts: how many more tokens have room, and what would be asked about the one after so many drafts,
   * whatever they are. Penalties do not count them.
   */
  ahead?: { room: number; query: (drafts: number) => TokenQuery } | undefined;
}

/** Of each row the answer to its query, and the hidden state that the next depth goes on from, [numRows, any width]. */
export type DraftResult = Pick<ForwardResult, 'answers' | 'hidden'>;

/** What is computed for one depth of drafts: all that differs between drafters that make one depth a call. */
export interface DraftEngine extends DrafterTraits {
  /** How far ahead it can draft; by default any depth. */
  readonly mostDepth?: number;
  /** So many pending rows are computed in a call of about that time; by default all are. */
  rowsWithin?(ms: number): number;
  /** Whether pending rows are computed although no draft is wanted for long, as where they can't be made later; true by default. */
  readonly keepsUp?: boolean;
  /**
   * The cache of a sequence, of whose main cache the first `length` positions were reused when it began. Undefined where there is
   * no room for it: the sequence then goes on without the engine.
   */
  openCache(sequence: Sequence, length: number): SequenceCache | undefined;
  /** The entry's accepted rows, in order, as far as the engine can compute them; undefined if it can't go on with the sequence. */
  positionsOf(entry: BatchEntry, result: ForwardResult): DrafterPosition[] | undefined;
  /** Places in the sequence's cache for nodes that are drafted on from; by default as many as the main model's has. */
  roomOf?(sequence: Sequence): number;
  /** When it fails, every cache is as it was before. */
  forward(rows: readonly DraftRow[], within: DraftsWithin): Promise<DraftResult>;
}

/** The row of the result with an accepted position of an entry. */
export function rowAt(entry: BatchEntry, position: number): number {
  const { firstRow, numRows, startLength, drafts, accepted } = entry;
  const known = numRows - drafts.tokens.length;
  const row = position - startLength;
  return firstRow + (row < known ? row : known + accepted[row - known]!);
}

/** The entry's accepted positions whose next token is known, each with its row of `hidden`, [numRows, width]. */
export function positionsWithHidden(entry: BatchEntry, hidden: Float32Array, width: number): DrafterPosition[] {
  const { sequence, startLength } = entry;
  const { cache, ids } = sequence;
  // The last token of a finished sequence has no known next token.
  const end = Math.min(cache!.length, ids.length - 1);
  const positions: DrafterPosition[] = [];
  for (let position = startLength; position < end; position++) {
    const at = rowAt(entry, position) * width;
    // A copy, so that a pending position does not keep the whole batch alive.
    positions.push({ hidden: hidden.slice(at, at + width), nextTokenId: ids[position + 1]!, position });
  }
  return positions;
}

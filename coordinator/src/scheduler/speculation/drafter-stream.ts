import type { SequenceCache } from '@shoal/model';

/** Models that draft: the model's own MTP module, heads that read its hidden states, and a small model beside it. */
export const DRAFTER_KINDS = ['mtp', 'eagle3', 'dflash', 'draft-model'] as const;
export type DrafterKind = (typeof DRAFTER_KINDS)[number];

/** What drafts tokens: a model, or a place in this or an earlier text where the text's end occurs. */
export type DraftKind = DrafterKind | 'lookup';

/** A position that the drafter can compute: its next token is known, and the model's hidden state there, if it reads that. */
export interface DrafterPosition {
  hidden: Float32Array;
  /** The token that the row is given; drafts are of the one after it. */
  nextTokenId: number;
  /** The row's position in the drafter's own cache. */
  position: number;
}

/** What a drafter holds for one sequence. */
export interface DrafterStream {
  /** Its KV cache; absent before the first pass. */
  cache: SequenceCache | undefined;
  /** Positions that it has not computed yet, in order. */
  pending: DrafterPosition[];
  /** Calls that have failed in a row. */
  failures: number;
  /** The text's length when drafts were last wanted. */
  wantedAt: number;
}

/** What is known of a model that drafts. */
export interface DrafterTraits {
  readonly kind: DrafterKind;
  /** Laps of one call. */
  readonly lapsPerDraft: number;
  /** Bytes of its KV cache for one token of one sequence. */
  readonly kvBytesPerToken: number;
  /** How often its first draft is expected to be right, before there is experience. */
  readonly firstPrior: number;
}

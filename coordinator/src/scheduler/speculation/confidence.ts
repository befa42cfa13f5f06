import { DraftTally } from './acceptance.ts';

/** Half-life: 350 drafts of a kind. */
const DECAY = 0.998;
/** Deeper drafts are counted with those of this depth. */
const LAST_DEPTH = 4;
const BUCKETS = 10;
/** Expected at least of a draft that is drawn as its token will be. */
const DRAWN_PRIOR = 0.5;

/** A draft as its drafter sees it. */
export interface DraftView {
  /** From 1. */
  depth: number;
  /** The drafter's own probability of it. */
  probability: number;
  /** Whether it is the token that the drafter draws with the random number of its target, or one of the others. */
  isDrawn: boolean;
}

/**
 * How often drafts are right whose parent is, as their drafter's probability says it: a module that was trained for one step is
 * far too sure of later ones. Drafts are counted by depth, by the order of magnitude of their probability, and apart if drawn.
 */
export class Confidence {
  readonly #byKind = new DraftTally(DECAY);

  /** The kind under which such drafts are counted. */
  kindOf({ depth, probability, isDrawn }: DraftView): number {
    // Above 0.9, above 0.5, above 0.25, …
    const bucket = probability > 0.9 ? 0 : Math.min(BUCKETS - 1, Math.floor(-Math.log2(probability)) + 1);
    return (2 * Math.min(depth, LAST_DEPTH) + Number(isDrawn)) * BUCKETS + bucket;
  }

  /** Probability that such a draft is right, given that its parent is. */
  rate(draft: DraftView): number {
    const prior = draft.isDrawn ? Math.max(DRAWN_PRIOR, draft.probability) : draft.probability;
    return this.#byKind.rate(this.kindOf(draft), prior);
  }

  /** Takes note that a draft of a kind, whose parent was right, was right or not. */
  judge(kind: number, isRight: boolean): void {
    this.#byKind.judge(kind, isRight);
  }
}

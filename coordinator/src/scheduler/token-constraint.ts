/**
 * Decides which tokens may come next in one answer. `accept` is called with the answer's tokens in order; what is asked about
 * drafts is about tokens that would follow those.
 */
export interface TokenConstraint {
  /** How many of `drafts` may come next, in order. Rejects if the constraint has failed. */
  allowedDrafts(drafts: readonly number[]): Promise<number>;
  /**
   * The tokens that may follow the answer, and then the answer with the first one, two, … of `drafts`: bit t % 32 of word
   * ⌊t / 32⌋ [⌈vocabSize / 32⌉] is 1 if token t may come; undefined: all may. Rejects if the constraint has failed.
   */
  masks(drafts: readonly number[]): Promise<(Uint32Array | undefined)[]>;
  accept(tokenId: number): void;
  /** Frees its memory. Called once, when the answer ends. */
  close(): void;
}

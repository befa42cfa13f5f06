/** Shortest repetition that counts, in tokens. */
const MIN_MATCH = 2;
/** A longer repetition counts no more than this. */
const MAX_MATCH = 32;
/** Earlier places to compare, the most recent first. */
const MAX_CANDIDATES = 32;

export interface LookupMatch {
  /** Tokens that the end of the text has in common with the place found. */
  length: number;
  drafts: number[];
}

/**
 * Prompt-lookup drafting (Saxena 2023): if the last tokens occurred before, in prompt or answer, what followed them then is the
 * draft. The longest repetition counts, and of equal ones the most recent. Places are chained by their last two tokens, as in
 * LZ77, so a token costs one step and two numbers of memory.
 */
export class PromptLookup {
  /** The text; it may grow. */
  readonly #ids: readonly number[];
  /** Key of two tokens → index of the second at their latest place. */
  readonly #latest = new Map<number, number>();
  /** By index: the previous place with the same two tokens, or −1. */
  readonly #earlier: number[] = [-1];

  constructor(ids: readonly number[]) {
    this.#ids = ids;
  }

  /** At most `count` tokens that may come next; undefined if the end of the text is new. */
  find(count: number): LookupMatch | undefined {
    this.#index();
    const end = this.#ids.length - 1;
    let best = { at: -1, length: MIN_MATCH - 1 };
    let at = this.#earlier[end] ?? -1;
    for (let tried = 0; at >= 0 && tried < MAX_CANDIDATES && best.length < MAX_MATCH; tried++) {
      const length = this.#common(at, end);
      if (length > best.length) best = { at, length };
      at = this.#earlier[at]!;
    }
    if (best.at < 0 || count < 1) return undefined;
    const drafts: number[] = [];
    // Past the end of the text the drafts continue with themselves: the repetition may be shorter than `count`.
    for (let i = 0; i < count; i++) drafts.push(this.#ids[best.at + 1 + i] ?? drafts[best.at + i - end]!);
    return { length: best.length, drafts };
  }

  #index(): void {
    for (let i = this.#earlier.length; i < this.#ids.length; i++) {
      const key = this.#ids[i - 1]! * 2 ** 24 + this.#ids[i]!;
      this.#earlier.push(this.#latest.get(key) ?? -1);
      this.#latest.set(key, i);
    }
  }

  /** Length of the common suffix of the text up to `at` and up to `end`. */
  #common(at: number, end: number): number {
    let length = 0;
    while (length < MAX_MATCH && length <= at && this.#ids[at - length] === this.#ids[end - length]) length++;
    return length;
  }
}

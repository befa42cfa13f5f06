/** Shortest repetition that is believed, in tokens. */
const MIN_MATCH = 2;
/** A longer one isn't believed more. */
const MAX_MATCH = 32;
/** Earlier places that are compared, the most recent first. */
const MAX_CANDIDATES = 32;

export interface LookupMatch {
  /** Tokens that the text's end has in common with the place that was found. */
  length: number;
  drafts: number[];
}

/**
 * Prompt-lookup drafting (Saxena 2023): where the text's last tokens were seen before, in prompt or answer, what followed them
 * then is the draft. The longest repetition counts, and of several the most recent. Places are chained by their last two
 * tokens, as LZ77 compressors chain them, so that a token costs a step and memory grows by two numbers.
 */
export class PromptLookup {
  /** The text, not changed; it may grow. */
  readonly #ids: readonly number[];
  /** Of the last two tokens: index of the second, at their latest place. */
  readonly #latest = new Map<number, number>();
  /** By index: the place before it with the same two tokens, or −1. */
  readonly #earlier: number[] = [-1];

  constructor(ids: readonly number[]) {
    this.#ids = ids;
  }

  /** At most `count` tokens that may come next; undefined where the text's end is new. */
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
    // Past the text's end the drafts themselves go on: a repetition may be shorter than what is asked for.
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

  /** Tokens before and at `at` that are those before and at `end`. */
  #common(at: number, end: number): number {
    let length = 0;
    while (length < MAX_MATCH && length <= at && this.#ids[at - length] === this.#ids[end - length]) length++;
    return length;
  }
}

const FIRST_ROOM = 256;

/** The tokens of a prompt and its answer, each once, with how often the answer has it; kept as the answer grows. */
export class TokenCounts {
  /** [room, 2] Token, times in the answer. */
  #pairs = new Int32Array(2 * FIRST_ROOM);
  #length = 0;
  /** Token → its index in `#pairs`. */
  readonly #places = new Map<number, number>();

  constructor(promptIds: Iterable<number>) {
    for (const tokenId of new Set(promptIds)) this.#place(tokenId);
  }

  /** Counts a token of the answer. */
  add(tokenId: number): void {
    this.#pairs[2 * this.#place(tokenId) + 1]!++;
  }

  /** [tokens, 2] Tokens and counts if the answer went on with `drafts`. */
  with(drafts: readonly number[]): Int32Array {
    const fresh = [...new Set(drafts)].filter((tokenId) => !this.#places.has(tokenId));
    const pairs = new Int32Array(2 * (this.#length + fresh.length));
    pairs.set(this.#pairs.subarray(0, 2 * this.#length));
    for (const [i, tokenId] of fresh.entries()) pairs[2 * (this.#length + i)] = tokenId;
    for (const tokenId of drafts) {
      const place = this.#places.get(tokenId) ?? this.#length + fresh.indexOf(tokenId);
      pairs[2 * place + 1]!++;
    }
    return pairs;
  }

  #place(tokenId: number): number {
    const known = this.#places.get(tokenId);
    if (known !== undefined) return known;
    if (2 * this.#length === this.#pairs.length) {
      const larger = new Int32Array(2 * this.#pairs.length);
      larger.set(this.#pairs);
      this.#pairs = larger;
    }
    this.#places.set(tokenId, this.#length);
    this.#pairs[2 * this.#length] = tokenId;
    return this.#length++;
  }
}

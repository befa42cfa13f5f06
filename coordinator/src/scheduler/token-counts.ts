const FIRST_ROOM = 256;

/** The tokens of a prompt and its answer, each once, with how often the answer has it; kept as the answer grows. */
export class TokenCounts {
  /** [room, 2] Token, times in the answer. */
  #table = new Int32Array(2 * FIRST_ROOM);
  #length = 0;
  /** Token → its index in `#table`. */
  readonly #places = new Map<number, number>();

  constructor(promptIds: Iterable<number>) {
    for (const tokenId of new Set(promptIds)) this.#place(tokenId);
  }

  /** Counts a token of the answer. */
  add(tokenId: number): void {
    // First, since it may move the table.
    const place = this.#place(tokenId);
    this.#table[2 * place + 1]!++;
  }

  /** [tokens, 2] Tokens and counts if the answer went on with `drafts`. */
  with(drafts: readonly number[]): Int32Array {
    const fresh = [...new Set(drafts)].filter((tokenId) => !this.#places.has(tokenId));
    const table = new Int32Array(2 * (this.#length + fresh.length));
    table.set(this.#table.subarray(0, 2 * this.#length));
    for (const [i, tokenId] of fresh.entries()) table[2 * (this.#length + i)] = tokenId;
    for (const tokenId of drafts) {
      const place = this.#places.get(tokenId) ?? this.#length + fresh.indexOf(tokenId);
      table[2 * place + 1]!++;
    }
    return table;
  }

  #place(tokenId: number): number {
    const known = this.#places.get(tokenId);
    if (known !== undefined) return known;
    if (2 * this.#length === this.#table.length) {
      const larger = new Int32Array(2 * this.#table.length);
      larger.set(this.#table);
      this.#table = larger;
    }
    this.#places.set(tokenId, this.#length);
    this.#table[2 * this.#length] = tokenId;
    return this.#length++;
  }
}

/** Pairs are numbered as left × this + right; there are at most three symbols for each merge. */
const MAX_SYMBOLS = 2 ** 26;
/** A queue entry is rank × this + position, so that the lowest rank comes first and the leftmost of equal ones. */
const MAX_CHARS = 2 ** 30;
const NONE = -1;

/**
 * Byte-pair merges of one long word in flat arrays. The library's linked objects take 5 to 34 s for a megabyte of letters, and
 * this about 1 s.
 */
export class WordMerger {
  readonly #names: string[] = [];
  readonly #symbols = new Map<string, number>();
  /** Rank of a pair of symbols. */
  readonly #ranks = new Map<number, number>();
  /** What a merge makes, by its rank. */
  readonly #merged: Int32Array;

  /** @param merges in the order of their ranks; of a pair that is there twice the last counts, as in the library */
  constructor(merges: readonly (readonly string[])[]) {
    this.#merged = Int32Array.from(merges, ([left, right], rank) => {
      this.#ranks.set(this.#symbol(left!) * MAX_SYMBOLS + this.#symbol(right!), rank);
      return this.#symbol(left! + right!);
    });
  }

  merge(word: string): string[] {
    const chars = Array.from(word);
    const symbols = Int32Array.from(chars, (char) => this.#symbols.get(char) ?? NONE);
    const next = Int32Array.from(chars, (_, at) => at + 1);
    this.#mergeAll(symbols, next);
    const tokens: string[] = [];
    for (let at = 0; at < chars.length; at = next[at]!) {
      // A character that no merge has is left as it is.
      tokens.push(symbols[at] === NONE ? chars[at]! : this.#names[symbols[at]!]!);
    }
    return tokens;
  }

  /** Merges until no pair has a rank. A symbol stays at the position of its first character, and `next` says where the next is. */
  #mergeAll(symbols: Int32Array, next: Int32Array): void {
    const end = symbols.length;
    const previous = Int32Array.from(symbols, (_, at) => at - 1);
    /** Rank of the pair that begins at a position, NONE where there is none. Other entries of the queue are out of date. */
    const pairRanks = new Int32Array(end).fill(NONE);
    const queue = new MinQueue();
    const look = (at: number): void => {
      const right = next[at]!;
      const isPair = right < end && symbols[at] !== NONE && symbols[right] !== NONE;
      const rank = isPair ? this.#ranks.get(symbols[at]! * MAX_SYMBOLS + symbols[right]!) : undefined;
      pairRanks[at] = rank ?? NONE;
      if (rank !== undefined) queue.push(rank * MAX_CHARS + at);
    };
    for (let at = 0; at < end; at++) look(at);
    for (let entry = queue.pop(); entry !== undefined; entry = queue.pop()) {
      const rank = Math.floor(entry / MAX_CHARS);
      const at = entry - rank * MAX_CHARS;
      if (pairRanks[at] !== rank) continue;
      const right = next[at]!;
      symbols[at] = this.#merged[rank]!;
      pairRanks[right] = NONE;
      next[at] = next[right]!;
      if (next[at]! < end) previous[next[at]!] = at;
      look(at);
      if (previous[at]! >= 0) look(previous[at]!);
    }
  }

  #symbol(name: string): number {
    const known = this.#symbols.get(name);
    if (known !== undefined) return known;
    this.#symbols.set(name, this.#names.length);
    return this.#names.push(name) - 1;
  }
}

/** A binary heap of numbers. */
class MinQueue {
  readonly #heap: number[] = [];

  push(value: number): void {
    const heap = this.#heap;
    let at = heap.push(value) - 1;
    while (at > 0) {
      const parent = (at - 1) >> 1;
      if (heap[parent]! <= value) break;
      heap[at] = heap[parent]!;
      at = parent;
    }
    heap[at] = value;
  }

  pop(): number | undefined {
    const heap = this.#heap;
    const least = heap[0];
    const last = heap.pop();
    if (last === undefined || heap.length === 0) return least;
    let at = 0;
    for (;;) {
      let child = 2 * at + 1;
      if (child >= heap.length) break;
      if (child + 1 < heap.length && heap[child + 1]! < heap[child]!) child++;
      if (heap[child]! >= last) break;
      heap[at] = heap[child]!;
      at = child;
    }
    heap[at] = last;
    return least;
  }
}

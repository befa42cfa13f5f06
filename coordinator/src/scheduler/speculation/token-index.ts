/** Lies between two texts of an index. No token is negative. */
const BOUNDARY = -1;
const FIRST_CAPACITY = 64;
/** The latest places that a search looks at, and those that it keeps. */
const MAX_TRIED = 128;
const MAX_PLACES = 8;
/** Common tokens beyond these are not counted; at fewer than the least, a place is none. */
const MAX_LENGTH = 64;
const MIN_LENGTH = 2;
/** A token, the previous place with the same two tokens, and a place of the table: 4 bytes each. */
const BYTES_PER_TOKEN = 12;
/** Positions are 32-bit numbers, so an index that has seen this many tokens begins anew. */
const MAX_POSITIONS = 2 ** 30;

/** A place in an index that has the last `length` tokens of a text in common with it, the last of them at `at`. */
export interface Place {
  readonly index: TokenIndex;
  readonly at: number;
  readonly length: number;
}

/** The places that have most in common with a text, the longest first, and of equally long ones those that were added first. */
export class LongestPlaces {
  readonly list: Place[] = [];

  /** A place is kept if it has more than this in common. */
  get least(): number {
    return this.list.length < MAX_PLACES ? MIN_LENGTH - 1 : this.list.at(-1)!.length;
  }

  add(place: Place): void {
    let i = this.list.length;
    while (i > 0 && this.list[i - 1]!.length < place.length) i--;
    this.list.splice(i, 0, place);
    if (this.list.length > MAX_PLACES) this.list.pop();
  }
}

/**
 * Texts in which one may search for the places where the end of another text occurs. Places are chained by their last two
 * tokens, as in LZ77 (Deutsch 1996, RFC 1951 §4), so that adding a token takes one step, a search looks at the latest places
 * only, and the oldest tokens give their room to new ones once there are `maxTokens` (a power of two).
 */
export class TokenIndex {
  readonly #maxTokens: number;
  /** [capacity] By position mod capacity: the token, and the previous place in the same chain or −1. */
  #tokens = new Int32Array(FIRST_CAPACITY);
  #earlier = new Int32Array(FIRST_CAPACITY);
  /** [capacity] By hash of two tokens: the position of the second at their latest place, or −1. */
  #latest = new Int32Array(FIRST_CAPACITY).fill(-1);
  #length = 0;

  constructor(maxTokens: number = MAX_POSITIONS) {
    this.#maxTokens = maxTokens;
  }

  /** Positions since the beginning, of which the latest are kept. */
  get length(): number {
    return this.#length;
  }

  get bytes(): number {
    return this.#capacity * BYTES_PER_TOKEN;
  }

  get #capacity(): number {
    return this.#tokens.length;
  }

  /** Goes on with the tokens of `ids` from `from` to `to`. */
  append(ids: readonly number[], from: number, to: number): void {
    const length = this.#length + to - from;
    if (length >= MAX_POSITIONS) return this.#clear();
    if (length > this.#capacity) this.#grow(length);
    for (let i = from; i < to; i++) this.#add(ids[i]!);
  }

  /** Ends a text: the next token begins another one. */
  endText(): void {
    if (this.#length >= this.#capacity) this.#grow(this.#length + 1);
    this.#add(BOUNDARY);
  }

  /** The token at a position; undefined where the text ends. */
  tokenAt(position: number): number | undefined {
    if (position >= this.#length) return undefined;
    const token = this.#tokens[position & (this.#capacity - 1)]!;
    return token === BOUNDARY ? undefined : token;
  }

  /** Adds the latest places before position `before` where the end of `ids` occurs. */
  search(ids: readonly number[], places: LongestPlaces, before = this.#length): void {
    const end = ids.length - 1;
    if (end < 1) return;
    const mask = this.#capacity - 1;
    const oldest = Math.max(0, this.#length - this.#capacity);
    let at = this.#latest[this.#bucket(ids[end - 1]!, ids[end]!)]!;
    for (let tried = 0; at >= oldest && tried < MAX_TRIED && places.least < MAX_LENGTH; tried++) {
      if (at < before) {
        const length = this.#common(ids, at, Math.min(MAX_LENGTH, end + 1, at + 1 - oldest), places.least);
        if (length > places.least) places.add({ index: this, at, length });
      }
      at = this.#earlier[at & mask]!;
    }
  }

  /** Length of the common end of `ids` and of the text up to `at`, at most `most`; any number up to `unless` if it isn't longer. */
  #common(ids: readonly number[], at: number, most: number, unless: number): number {
    const end = ids.length - 1;
    const mask = this.#capacity - 1;
    // Most places differ here, and need no further look.
    if (most <= unless || this.#tokens[(at - unless) & mask] !== ids[end - unless]) return 0;
    let length = 0;
    while (length < most && this.#tokens[(at - length) & mask] === ids[end - length]) length++;
    return length;
  }

  #add(token: number): void {
    const at = this.#length++;
    const mask = this.#capacity - 1;
    const before = at === 0 ? BOUNDARY : this.#tokens[(at - 1) & mask]!;
    this.#tokens[at & mask] = token;
    this.#earlier[at & mask] = -1;
    if (before === BOUNDARY || token === BOUNDARY) return;
    const bucket = this.#bucket(before, token);
    this.#earlier[at & mask] = this.#latest[bucket]!;
    this.#latest[bucket] = at;
  }

  #bucket(first: number, second: number): number {
    // Multiplicative hashing: its upper bits depend on all of the tokens' bits.
    const hash = Math.imul(first, 0x9e3779b1) + Math.imul(second, 0x85ebca77);
    return Math.imul(hash ^ (hash >>> 15), 0x2c1b3c6d) >>> Math.clz32(this.#capacity - 1);
  }

  /** Makes room for as many positions, as far as the index may have them. */
  #grow(length: number): void {
    const capacity = Math.min(this.#maxTokens, 2 ** Math.ceil(Math.log2(length)));
    if (capacity <= this.#capacity) return;
    const tokens = this.#tokens.subarray(0, this.#length);
    this.#tokens = new Int32Array(capacity);
    this.#earlier = new Int32Array(capacity);
    this.#latest = new Int32Array(capacity).fill(-1);
    this.#length = 0;
    for (const token of tokens) this.#add(token);
  }

  #clear(): void {
    this.#latest.fill(-1);
    this.#length = 0;
  }
}

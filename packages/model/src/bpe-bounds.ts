import type { Tokenizer as HfTokenizer } from '@huggingface/tokenizers';
import { WordMerger } from './merge-word.ts';
import { steadyPart } from './normal-form.ts';

/** A text has more tokens than were asked for. It was not, or not wholly, tokenized. */
export class TooManyTokensError extends Error {
  constructor(message: string) {
    super(message);
    this.name = 'TooManyTokensError';
  }
}

/** What this code needs of the library's BPE model, which its types leave out. */
type BpeModel = NonNullable<HfTokenizer['model']> & {
  cache: WordCache;
  merges: string[][];
  continuing_subword_suffix?: string | null;
  bpe(word: string): string[];
};
export interface WordCache {
  get(word: string): string[] | undefined;
  put(word: string, tokens: string[]): void;
  clear(): void;
}

/** Words whose tokens are kept; the library's own number. */
const MAX_CACHED_WORDS = 10_000;

/**
 * Replaces the library's cache, which moves each word to the end of a map when it is looked up: with a full map that takes 30 µs
 * a word (25 s for a million digits), and this one 0.2 µs.
 */
function wordCache(): WordCache {
  const words = new Map<string, string[]>();
  return {
    get: (word) => words.get(word),
    put(word, tokens) {
      if (words.size >= MAX_CACHED_WORDS) words.clear();
      words.set(word, tokens);
    },
    clear: () => words.clear(),
  };
}

/**
 * Longest word that is left to the library, which takes at most 7 ms for it. A `WordMerger` takes 0.2 s to make, and so is only
 * made where a word is longer.
 */
const LONG_WORD_CHARS = 2_048;

/** Keeps the library's BPE from taking long: stops once a text has more tokens than it may, and merges long words itself. */
export class BpeBudget {
  #tokensLeft = Infinity;

  constructor(hf: HfTokenizer) {
    const model = hf.model as BpeModel;
    model.cache = wordCache();
    // Vocabularies with suffixes are older than any model that is served; the library's own way stays for them.
    if (!model.end_of_word_suffix && !model.continuing_subword_suffix) mergeLongWords(model);
    const encode = model.encode.bind(model);
    model.encode = (words) => {
      const all: string[] = [];
      for (const word of words) {
        for (const token of encode([word])) {
          all.push(token);
          // Several unknown ones may become one.
          if (token !== model.unk_token) this.#tokensLeft--;
        }
        if (this.#tokensLeft < 0) throw new TooManyTokensError('the text has more tokens than fit');
      }
      return all;
    };
  }

  /** Runs `tokenize`, which throws a TooManyTokensError from within once it has made more than `maxTokens`. */
  within<T>(maxTokens: number, tokenize: () => T): T {
    this.#tokensLeft = maxTokens;
    try {
      return tokenize();
    } finally {
      this.#tokensLeft = Infinity;
    }
  }
}

function mergeLongWords(model: BpeModel): void {
  const byLibrary = model.bpe.bind(model);
  let merger: WordMerger | undefined;
  model.bpe = (word) => {
    if (word.length <= LONG_WORD_CHARS) return byLibrary(word);
    merger ??= new WordMerger(model.merges);
    return merger.merge(word);
  };
}

/** A normalizer of tokenizer.json. */
export interface Normalizer {
  type: string;
  normalizers?: Normalizer[] | undefined;
}

/** Those that leave a text's bytes as they are, apart from the spaces, which `tokenBytes` has as spaces too. */
const NEUTRAL = new Set(['Sequence', 'Prepend', 'Replace']);
const WHITESPACE = [...'\t\n\v\f\r '].map((char) => char.charCodeAt(0));

export interface BoundedVocabulary {
  /** The bytes of each token. */
  tokens: Iterable<Uint8Array>;
  normalizer?: Normalizer | null | undefined;
  /** Whether a special token takes the whitespace beside it. */
  stripsSpace?: boolean;
  /** Whether there is a token for unknown text. */
  hasUnknown?: boolean;
}

/**
 * A lower bound for the number of a text's tokens, from its bytes alone. A token of n bytes consists of bytes of which each
 * occurs in a token of n bytes, so adding up `1 / (bytes of the longest token with this byte)` gives at most 1 for each token.
 */
export class TokenBound {
  /** By byte; 0 where nothing is known. */
  readonly #shares = new Float64Array(256);
  readonly #isNfc: boolean;

  constructor({ tokens, normalizer, stripsSpace, hasUnknown }: BoundedVocabulary) {
    const kinds = normalizer ? kindsOf(normalizer) : [];
    this.#isNfc = kinds.includes('NFC');
    if (!kinds.every((kind) => NEUTRAL.has(kind) || kind === 'NFC')) return;
    const longest = new Uint32Array(256);
    const single = new Set<number>();
    for (const bytes of tokens) {
      for (const byte of bytes) longest[byte] = Math.max(longest[byte]!, bytes.length);
      if (bytes.length === 1) single.add(bytes[0]!);
    }
    // A token for unknown text covers any number of bytes. It is never used where each byte has a token.
    if (hasUnknown && single.size < 256) return;
    longest.forEach((length, byte) => (this.#shares[byte] = length === 0 ? 0 : 1 / length));
    if (stripsSpace) for (const byte of WHITESPACE) this.#shares[byte] = 0;
  }

  of(text: string): number {
    const bytes = new TextEncoder().encode(this.#isNfc ? steadyPart(text) : text);
    let sum = 0;
    for (const byte of bytes) sum += this.#shares[byte]!;
    // The sum of a million shares is off by far less than this.
    return Math.max(0, Math.ceil(sum - 1e-6));
  }
}

function kindsOf({ type, normalizers = [] }: Normalizer): string[] {
  return [type, ...normalizers.flatMap(kindsOf)];
}

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
 * Longest word that is left to the library, whose time is about proportional to the length: at most 7 ms for 2,048 characters.
 * A `WordMerger` takes 0.2 s to make, and so is only made where a word is longer: never of the 2 KiB that a main thread
 * tokenizes, which NFC makes three times as long at most.
 */
const LONG_WORD_CHARS = 8_192;

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

/** A normalizer or a pre-tokenizer of tokenizer.json. */
export interface TextStep {
  type: string;
  normalizers?: TextStep[] | undefined;
  pretokenizers?: TextStep[] | undefined;
  pattern?: unknown;
  content?: unknown;
  behavior?: unknown;
  invert?: unknown;
  replacement?: unknown;
  str_rep?: unknown;
}

/** U+2581, which `tokenBytes` has as a space. */
const SPACE_SIGN = '\u2581';

/** Whether a step leaves all of a text's bytes, apart from spaces that become `SPACE_SIGN`. It may add some. */
function keepsAll(step: TextStep): boolean {
  switch (step.type) {
    case 'Sequence':
      return [...(step.normalizers ?? []), ...(step.pretokenizers ?? [])].every(keepsAll);
    case 'Replace':
      return isSpace(step.pattern) && step.content === SPACE_SIGN;
    case 'Metaspace':
      return (step.replacement ?? SPACE_SIGN) === SPACE_SIGN && (step.str_rep ?? SPACE_SIGN) === SPACE_SIGN;
    case 'Split':
      return !step.invert && String(step.behavior).toLowerCase() !== 'removed';
    case 'Prepend':
    case 'NFC':
    case 'ByteLevel':
    case 'Digits':
      return true;
    default:
      return false;
  }
}

const isSpace = (pattern: unknown): boolean => (pattern as { String?: unknown } | undefined)?.String === ' ';

function typesOf({ type, normalizers = [], pretokenizers = [] }: TextStep): string[] {
  return [type, ...[...normalizers, ...pretokenizers].flatMap(typesOf)];
}

export interface BoundedVocabulary {
  /** The bytes of each token. */
  tokens: Iterable<Uint8Array>;
  normalizer?: TextStep | null | undefined;
  preTokenizer?: TextStep | null | undefined;
  /** Whether the text is changed in other ways before it is tokenized. */
  isChanged?: boolean;
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
  /** What is counted of a text. */
  readonly #kept: ((text: string) => string)[] = [];

  constructor({ tokens, normalizer, preTokenizer, isChanged, stripsSpace, hasUnknown }: BoundedVocabulary) {
    const steps = [normalizer, preTokenizer].filter((step) => step != null);
    if (isChanged || !steps.every(keepsAll)) return;
    const types = new Set(steps.flatMap(typesOf));
    if (types.has('NFC')) this.#kept.push(steadyPart);
    // The sign itself is a space to the tokenizer, and its bytes are in no token.
    if (types.has('Replace') || types.has('Metaspace')) this.#kept.push((text) => text.replaceAll(SPACE_SIGN, ' '));
    // As `trimStart` and `trimEnd` have it.
    if (stripsSpace) this.#kept.push((text) => text.replace(/\s+/g, ''));
    const longest = new Uint32Array(256);
    const single = new Set<number>();
    for (const bytes of tokens) {
      for (const byte of bytes) longest[byte] = Math.max(longest[byte]!, bytes.length);
      if (bytes.length === 1) single.add(bytes[0]!);
    }
    // A token for unknown text covers any number of bytes. It is never used where each byte has a token.
    if (hasUnknown && single.size < 256) return;
    longest.forEach((length, byte) => (this.#shares[byte] = length === 0 ? 0 : 1 / length));
  }

  of(text: string): number {
    const bytes = new TextEncoder().encode(this.#kept.reduce((kept, keep) => keep(kept), text));
    let sum = 0;
    for (const byte of bytes) sum += this.#shares[byte]!;
    // The sum of a million shares is off by far less than this.
    return Math.max(0, Math.ceil(sum - 1e-6));
  }
}

import type { Tokenizer as HfTokenizer } from '@huggingface/tokenizers';

/**
 * Combining marks in a row that are put in order. Unicode's stream-safe texts have at most 30, and no language has more than a
 * handful; a megabyte of runs of this length takes 0.2 s.
 */
const MAX_MARKS = 256;
/** Marks, with the control characters that some normalizers drop from between them. */
const MARKS = /[\p{M}\uff9e\uff9f][\p{M}\p{C}\uff9e\uff9f]*/gu;
const MARK = /[\p{M}\uff9e\uff9f]/gu;

/** A text was not tokenized, since normalizing it would take too long. The message is for the text's author. */
export class MarkRunError extends Error {
  constructor() {
    super(`more than ${MAX_MARKS} combining marks in a row`);
    this.name = 'MarkRunError';
  }
}

/** Normalizers of tokenizer.json that call `String.normalize`. */
const SORTING = new Set(['NFC', 'NFD', 'NFKC', 'NFKD', 'BertNormalizer']);

/** What this code needs of the library's normalizers, which its types leave out. */
interface LibraryNormalizer {
  config: { type: string };
  normalizers?: (LibraryNormalizer | null)[];
  normalize(text: string): string;
}

/**
 * Has each of the library's normalizers throw a MarkRunError instead of putting a long run of combining marks in order: the
 * runtime takes the square of the run's length for it (100 s for a megabyte), in native code, which nothing interrupts.
 */
export function guardNormalizers(hf: HfTokenizer): void {
  if (hf.normalizer) guard(hf.normalizer as unknown as LibraryNormalizer);
}

function guard(normalizer: LibraryNormalizer): void {
  for (const part of normalizer.normalizers ?? []) if (part) guard(part);
  if (!SORTING.has(normalizer.config.type)) return;
  const normalize = normalizer.normalize.bind(normalizer);
  normalizer.normalize = (text) => {
    refuseLongRuns(text);
    return normalize(text);
  };
}

function refuseLongRuns(text: string): void {
  for (const [run] of text.matchAll(MARKS)) {
    if (run.length > MAX_MARKS && run.match(MARK)!.length > MAX_MARKS) throw new MarkRunError();
  }
}

/**
 * Characters that NFC neither changes by themselves nor joins to the character before them. Not all there are: the letters,
 * ideographs and symbols that long texts consist of.
 */
const STEADY =
  '\\0-\\u02ff\\u0388-\\u0482\\u048a-\\u052f\\u05d0-\\u05ea\\u0620-\\u064a\\u0904-\\u0939\\u0e01-\\u0e30\\u10d0-\\u10ff' +
  '\\u2010-\\u2027\\u2030-\\u205e\\u20a0-\\u20bf\\u2190-\\u2328\\u2400-\\u2426\\u2500-\\u27bf\\u3001-\\u3029\\u3041-\\u3096' +
  '\\u30a0-\\u30ff\\u3400-\\u4dbf\\u4e00-\\u9fff\\uac00-\\ud7a3\\uff01-\\uff5e\\u{1f000}-\\u{1faff}\\u{20000}-\\u{2a6df}';
/** All others, with the one before them, which they may be joined to. */
const UNSTEADY = new RegExp(`[${STEADY}]?[^${STEADY}]+`, 'gu');

/** The part of a text that is the same after NFC, found without normalizing it: about 15 ms for a megabyte. */
export function steadyPart(text: string): string {
  return text.replace(UNSTEADY, '');
}

import type { Tokenizer as HfTokenizer } from '@huggingface/tokenizers';
import { z } from 'zod';
import { ModelError } from './errors.ts';

/** Far above the published tables, of 0.3 MB. */
const MAX_TABLE_CHARS = 16 << 20;
/** Graphemes of fewer bytes are looked up whole, as Hugging Face's `tokenizers` does (its crate spm_precompiled). */
const WHOLE_GRAPHEME_BYTES = 6;

/** Graphemes whose replacements are kept. */
const MAX_KNOWN = 10_000;

const graphemes = new Intl.Segmenter('und', { granularity: 'grapheme' });
const utf8 = new TextEncoder();
/** Printable characters, each of which is a grapheme if another follows it. */
const ASCII = String.fromCharCode(...Array.from({ length: 95 }, (_, i) => 32 + i));
/** A text in pieces: runs of such characters, and what is between them. */
const PLAIN_RUNS = /([ -~]+(?=[ -~]|$))|([ -~]?[^ -~]+)/g;
const ALL = /($.)|([^]+)/g;
/** A text is cut into graphemes so many characters at a time: V8 takes the square of the text's length (30 s for 200,000). */
const WINDOW_CHARS = 256;

/**
 * SentencePiece's table of replacements (`precompiled_charsmap`): the size of a trie, the trie as a double array (darts-clone), and the
 * replacements, each ended by a zero. A grapheme that begins with an entry is replaced by the shortest such entry's replacement;
 * else its characters are, one by one.
 */
export class Charsmap {
  readonly #trie: Uint32Array;
  readonly #replacements: Uint8Array;
  /** What short graphemes were replaced by. */
  readonly #known = new Map<string, string>();
  /** Whether printable ASCII stays as it is, as it does in published tables. */
  readonly #keepsAscii: boolean;

  /** Takes the table as tokenizer.json has it, in Base64. Throws a ModelError. */
  constructor(base64: string) {
    const bytes = Uint8Array.from(decodeBase64(base64), (char) => char.charCodeAt(0));
    const view = new DataView(bytes.buffer);
    const trieBytes = bytes.byteLength < 4 ? Number.POSITIVE_INFINITY : view.getUint32(0, true);
    if (trieBytes % 4 !== 0 || 4 + trieBytes > bytes.byteLength) throw badTable('its trie is longer than the table');
    this.#trie = Uint32Array.from({ length: trieBytes / 4 }, (_, i) => view.getUint32(4 + 4 * i, true));
    this.#replacements = bytes.subarray(4 + trieBytes);
    this.#keepsAscii = Array.from(ASCII).every((char) => this.#replaced(char) === char);
  }

  normalize(text: string): string {
    let out = '';
    for (const [, plain, other] of text.matchAll(this.#keepsAscii ? PLAIN_RUNS : ALL)) {
      if (plain !== undefined) out += plain;
      else for (const grapheme of graphemesOf(other!)) out += this.#replaced(grapheme);
    }
    return out;
  }

  #replaced(grapheme: string): string {
    // Long ones would fill the memory.
    if (grapheme.length > WHOLE_GRAPHEME_BYTES) return this.#lookUp(grapheme);
    const known = this.#known.get(grapheme);
    if (known !== undefined) return known;
    const replaced = this.#lookUp(grapheme);
    if (this.#known.size >= MAX_KNOWN) this.#known.clear();
    this.#known.set(grapheme, replaced);
    return replaced;
  }

  #lookUp(grapheme: string): string {
    // A character of n UTF-16 units has at least n bytes.
    if (grapheme.length < WHOLE_GRAPHEME_BYTES) {
      const bytes = utf8.encode(grapheme);
      const whole = bytes.length < WHOLE_GRAPHEME_BYTES ? this.#find(bytes) : undefined;
      if (whole !== undefined) return whole;
    }
    return Array.from(grapheme, (char) => this.#find(utf8.encode(char)) ?? char).join('');
  }

  /** The replacement of the shortest entry that the bytes begin with. */
  #find(bytes: Uint8Array): string | undefined {
    let node = offsetOf(this.#trie[0] ?? 0);
    for (const byte of bytes) {
      if (byte === 0) return undefined;
      node ^= byte;
      const unit = this.#trie[node];
      if (unit === undefined || labelOf(unit) !== byte) return undefined;
      node ^= offsetOf(unit);
      if (hasLeaf(unit)) return this.#replacementAt((this.#trie[node] ?? 0) & 0x7fff_ffff);
    }
    return undefined;
  }

  #replacementAt(start: number): string {
    const end = this.#replacements.indexOf(0, start);
    return new TextDecoder().decode(this.#replacements.subarray(start, end < 0 ? undefined : end));
  }
}

/** A text's graphemes, each found in a window that begins with it or with one before it. */
function* graphemesOf(text: string): Iterable<string> {
  let window = WINDOW_CHARS;
  for (let start = 0; start < text.length;) {
    const part = text.slice(start, start + window);
    const isLast = start + part.length === text.length;
    const segments = Array.from(graphemes.segment(part), ({ segment }) => segment);
    // The last may go on behind the window.
    const whole = isLast ? segments : segments.slice(0, -1);
    yield* whole;
    start += whole.reduce((sum, { length }) => sum + length, 0);
    window = whole.length === 0 ? 2 * window : WINDOW_CHARS;
  }
}

// The fields of a unit of the double array.
const hasLeaf = (unit: number): boolean => ((unit >>> 8) & 1) === 1;
const labelOf = (unit: number): number => (unit & 0x8000_00ff) >>> 0;
const offsetOf = (unit: number): number => (unit >>> 10) << ((unit & 0x200) >>> 6);

function decodeBase64(base64: string): string {
  if (base64.length > MAX_TABLE_CHARS) throw badTable(`it has ${base64.length} characters`);
  try {
    return atob(base64);
  } catch {
    throw badTable('it is no Base64');
  }
}

function badTable(problem: string): ModelError {
  const message = `tokenizer.json: precompiled_charsmap: ${problem}; take the file from the model's own repository`;
  return new ModelError('bad-tokenizer', 'normalizer', message);
}

/** What this code needs of the library's normalizers, which its types leave out. */
interface LibraryNormalizer {
  config: { type: string };
  normalizers?: (LibraryNormalizer | null)[];
  normalize(text: string): string;
}

const precompiledSchema = z.looseObject({ precompiled_charsmap: z.string() });

/** Has the library's `Precompiled` normalizers follow their tables, of which it knows only an approximation. */
export function mendPrecompiled(hf: HfTokenizer): void {
  if (hf.normalizer) mend(hf.normalizer as unknown as LibraryNormalizer);
}

function mend(normalizer: LibraryNormalizer): void {
  for (const part of normalizer.normalizers ?? []) if (part) mend(part);
  if (normalizer.config.type !== 'Precompiled') return;
  const parsed = precompiledSchema.safeParse(normalizer.config);
  if (!parsed.success) throw badTable('it is missing');
  const table = new Charsmap(parsed.data.precompiled_charsmap);
  normalizer.normalize = (text) => table.normalize(text);
}

import type { Tokenizer as HfTokenizer } from '@huggingface/tokenizers';
import { ModelError } from './errors.ts';

/** A pre-tokenizer of tokenizer.json. */
interface Step {
  type: string;
  pretokenizers?: Step[];
  pattern?: { Regex?: string; String?: string };
  behavior?: string;
  invert?: boolean;
  individual_digits?: boolean;
}

/** Of the library's pre-tokenizers, what its types leave out. */
interface LibraryStep {
  config?: Step;
  tokenizers?: LibraryStep[];
  pattern?: RegExp | null;
  pre_tokenize_text(text: string): string[];
}

/** Rust's `is_punctuation`: ASCII's, and Unicode's. */
const PUNCTUATION = '[\\p{P}!-/:-@\\[-`{-~]';

/** Unicode's White_Space, as Rust's `char::is_whitespace` has it. */
const WHITE_SPACE = '[\\t-\\r \\u0085\\u00a0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000]+';

/** A tokenizer.json whose pre-tokenizers the library computes as Python's `tokenizers` does. */
export function withPythonSteps(json: object): object {
  const { pre_tokenizer: step } = json as { pre_tokenizer?: Step | null };
  return step ? { ...json, pre_tokenizer: asPython(step) } : json;
}

function asPython(step: Step): Step {
  switch (step.type) {
    case 'Sequence':
      return { ...step, pretokenizers: (step.pretokenizers ?? []).map(asPython) };
    case 'Digits':
      // The library's are ASCII's alone.
      return split(step.individual_digits ? '\\p{N}' : '\\p{N}+', 'Isolated');
    case 'WhitespaceSplit':
      // JavaScript's \\s is not Unicode's White_Space: it has U+FEFF and lacks U+0085.
      return split(WHITE_SPACE, 'Removed');
    case 'Punctuation':
      // The library joins neighbours.
      return split(PUNCTUATION, step.behavior ?? 'Isolated');
    case 'Split':
      if (step.pattern?.Regex === undefined) return step;
      return { ...step, pattern: { Regex: withoutPossessives(step.pattern.Regex) } };
    default:
      return step;
  }
}

const split = (regex: string, behavior: string): Step => ({
  type: 'Split',
  pattern: { Regex: regex },
  behavior,
  invert: false,
});

/** Published patterns have up to 2 KB. */
const MAX_PATTERN_CHARS = 64 * 1024;

/** The library takes possessive quantifiers for greedy ones. Of single characters they are these with a look-ahead. */
function withoutPossessives(regex: string): string {
  if (regex.length > MAX_PATTERN_CHARS) {
    const problem = `tokenizer.json: a pattern of ${regex.length} characters, more than the ${MAX_PATTERN_CHARS} that are read`;
    throw new ModelError('bad-tokenizer', 'pre_tokenizer', problem);
  }
  const endOfAtom = atomReader(regex);
  let mended = '';
  for (let at = 0; at < regex.length;) {
    const end = endOfAtom(at);
    const atom = regex.slice(at, end);
    const quantifier = regex[end] ?? '';
    const isPossessive = '*+?'.includes(quantifier) && regex[end + 1] === '+' && !'()|*+?{}]'.includes(atom);
    if (!isPossessive) mended += atom;
    else mended += quantifier === '?' ? `(?:${atom}|(?!${atom}))` : `${atom}${quantifier}(?!${atom})`;
    at = isPossessive ? end + 2 : end;
  }
  return mended;
}

/** Finds where what begins at a place ends: a class, an escape, or a character. All calls together take a time in proportion to the pattern. */
function atomReader(regex: string): (at: number) => number {
  // In Rust a class may hold others.
  let isNested = true;
  const endOfClass = (at: number): number | undefined => {
    let depth = 0;
    for (let i = at; i < regex.length; i++) {
      if (regex[i] === '\\') i++;
      else if (regex[i] === '[' && (isNested || i === at)) depth++;
      else if (regex[i] === ']' && --depth === 0) return i + 1;
    }
    return undefined;
  };
  return (at) => {
    if (regex[at] === '\\') return at + /^\\(?:[pP]\{[^}]{0,64}\}|.?)/s.exec(regex.slice(at, at + 70))![0].length;
    if (regex[at] !== '[') return at + 1;
    const end = endOfClass(at);
    if (end !== undefined) return end;
    if (!isNested) return regex.length;
    isNested = false;
    return endOfClass(at) ?? regex.length;
  };
}

/** Has the library's `Split` do what its `behavior` and `invert` say; it knows "Isolated", and "Removed" without `invert`. */
export function mendSplits(hf: HfTokenizer): void {
  if (hf.pre_tokenizer) mend(hf.pre_tokenizer as unknown as LibraryStep);
}

function mend(step: LibraryStep): void {
  for (const part of step.tokenizers ?? []) mend(part);
  // A Sequence has no config.
  const { type, behavior = 'Isolated', invert = false } = step.config ?? { type: 'Sequence' };
  const { pattern } = step;
  const how = behavior.toLowerCase().replaceAll('_', '');
  if (type !== 'Split' || !pattern || (how === 'isolated' && !invert)) return;
  step.pre_tokenize_text = (text) => splitText(text, pattern, how, invert);
}

interface Piece {
  text: string;
  isMatch: boolean;
}

function splitText(text: string, pattern: RegExp, behavior: string, invert: boolean): string[] {
  const pieces: Piece[] = [];
  let end = 0;
  for (const match of text.matchAll(pattern)) {
    pieces.push({ text: text.slice(end, match.index), isMatch: invert }, { text: match[0], isMatch: !invert });
    end = match.index + match[0].length;
  }
  pieces.push({ text: text.slice(end), isMatch: invert });
  return joined(
    pieces.filter((piece) => piece.text !== ''),
    behavior,
  );
}

function joined(pieces: readonly Piece[], behavior: string): string[] {
  switch (behavior) {
    case 'removed':
      return pieces.flatMap((piece) => (piece.isMatch ? [] : [piece.text]));
    case 'contiguous':
      return joinedWhere(pieces, (piece, before) => piece.isMatch === before.isMatch);
    case 'mergedwithprevious':
      return joinedWhere(pieces, (piece, before) => piece.isMatch && !before.isMatch);
    case 'mergedwithnext':
      return joinedWhere(pieces, (piece, before) => before.isMatch && !piece.isMatch);
    default:
      return pieces.map((piece) => piece.text);
  }
}

function joinedWhere(pieces: readonly Piece[], isJoined: (piece: Piece, before: Piece) => boolean): string[] {
  const texts: string[] = [];
  for (const [at, piece] of pieces.entries()) {
    if (at > 0 && isJoined(piece, pieces[at - 1]!)) texts[texts.length - 1] += piece.text;
    else texts.push(piece.text);
  }
  return texts;
}

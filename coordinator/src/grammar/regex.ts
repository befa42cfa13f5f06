import { CharacterReader } from './character-reader.ts';
import { type CharRange, choice, type Expression, normalRanges, otherRanges, repeat, sequence } from './expression.ts';
import { GrammarError, unsupported } from './grammar-error.ts';

/** How the characters of a match are written. */
export interface RegexStyle {
  /** One of some characters. */
  spell(ranges: readonly CharRange[]): Expression;
  /** What may stand before and after a match that has no anchor there. */
  around: Expression;
}

type Node =
  | { kind: 'set'; ranges: readonly CharRange[] }
  | { kind: 'anchor'; at: '^' | '$' }
  | { kind: 'sequence'; parts: Node[] }
  | { kind: 'choice'; options: Node[] }
  | { kind: 'repeat'; part: Node; least: number; most: number };

/** Texts that a regular expression of ECMA-262 matches, as JSON Schema has them (with flag u). Throws a GrammarError. */
export function regexExpression(pattern: string, style: RegexStyle, lengths?: Lengths): Expression {
  const node = new RegexParser(pattern).parse();
  return search(lengths ? ofLength(node, lengths) : node, style, true, true);
}

/** Of a match, in characters. */
interface Lengths {
  least: number;
  most: number;
}

/** The matches of certain lengths, where that takes no more than to bound one repetition. */
function ofLength(node: Node, { least, most }: Lengths): Node {
  const parts = node.kind === 'sequence' ? node.parts : [node];
  const possible = lengthsOf(node);
  const isWhole = isAnchor(parts[0], '^') && isAnchor(parts.at(-1), '$');
  if (isWhole && possible.least >= least && possible.most <= most) return node;
  const loose = parts.filter((part) => lengthsOf(part).least < lengthsOf(part).most);
  const [only] = loose;
  if (!isWhole || loose.length !== 1 || only?.kind !== 'repeat' || only.part.kind !== 'set')
    throw unsupported('minLength and maxLength beside it; write the length into the pattern');
  const others = possible.least - only.least;
  const bounded = { least: Math.max(only.least, least - others), most: Math.min(only.most, most - others) };
  const replacement: Node = bounded.least > bounded.most ? { kind: 'choice', options: [] } : { ...only, ...bounded };
  return { kind: 'sequence', parts: parts.map((part) => (part === only ? replacement : part)) };
}

function lengthsOf(node: Node): Lengths {
  switch (node.kind) {
    case 'set':
      return { least: 1, most: 1 };
    case 'anchor':
      return { least: 0, most: 0 };
    case 'sequence':
    case 'choice': {
      const all = (node.kind === 'sequence' ? node.parts : node.options).map(lengthsOf);
      const total = (pick: (lengths: Lengths) => number): number => all.reduce((sum, own) => sum + pick(own), 0);
      if (node.kind === 'sequence') return { least: total((own) => own.least), most: total((own) => own.most) };
      return {
        least: Math.min(...all.map((own) => own.least)),
        most: Math.max(...all.map((own) => own.most)),
      };
    }
    case 'repeat': {
      const { least, most } = lengthsOf(node.part);
      // Not 0 × ∞.
      return { least: least * node.least, most: most === 0 || node.most === 0 ? 0 : most * node.most };
    }
  }
}

/** With anchors at its ends, which only a whole alternative may have. */
function search(node: Node, style: RegexStyle, atStart: boolean, atEnd: boolean): Expression {
  if (node.kind === 'choice') return choice(...node.options.map((option) => search(option, style, atStart, atEnd)));
  const parts = node.kind === 'sequence' ? [...node.parts] : [node];
  let isAnchored = !atStart;
  let isAnchoredAtEnd = !atEnd;
  if (atStart && isAnchor(parts[0], '^')) {
    parts.shift();
    isAnchored = true;
  }
  if (atEnd && isAnchor(parts.at(-1), '$')) {
    parts.pop();
    isAnchoredAtEnd = true;
  }
  // A group that is the whole of an alternative may have anchors that its surroundings have not.
  if (parts.length === 1 && (parts[0]!.kind === 'choice' || parts[0]!.kind === 'sequence'))
    return search(parts[0]!, style, !isAnchored, !isAnchoredAtEnd);
  const inner = parts.map((part) => plain(part, style));
  return sequence(...(isAnchored ? [] : [style.around]), ...inner, ...(isAnchoredAtEnd ? [] : [style.around]));
}

const isAnchor = (node: Node | undefined, at: '^' | '$'): boolean => node?.kind === 'anchor' && node.at === at;

function plain(node: Node, style: RegexStyle): Expression {
  switch (node.kind) {
    case 'set':
      return style.spell(node.ranges);
    case 'anchor':
      throw unsupported(`“${node.at}” in the middle of a pattern; use it at the ends only`);
    case 'sequence':
      return sequence(...node.parts.map((part) => plain(part, style)));
    case 'choice':
      return choice(...node.options.map((option) => plain(option, style)));
    case 'repeat':
      return repeat(plain(node.part, style), node.least, node.most);
  }
}

const single = (character: string): CharRange => [character.codePointAt(0)!, character.codePointAt(0)!];
const DIGITS: CharRange[] = [[0x30, 0x39]];
const WORD: CharRange[] = [[0x30, 0x39], [0x41, 0x5a], [0x5f, 0x5f], [0x61, 0x7a]]; // prettier-ignore
const BLANK: CharRange[] = [
  [0x09, 0x0d], [0x20, 0x20], [0xa0, 0xa0], [0x1680, 0x1680], [0x2000, 0x200a], [0x2028, 0x2029], [0x202f, 0x202f],
  [0x205f, 0x205f], [0x3000, 0x3000], [0xfeff, 0xfeff],
]; // prettier-ignore
const LINE_ENDS: CharRange[] = [[0x0a, 0x0a], [0x0d, 0x0d], [0x2028, 0x2029]]; // prettier-ignore

const CLASSES: Readonly<Record<string, readonly CharRange[]>> = {
  d: DIGITS,
  D: otherRanges(DIGITS),
  w: WORD,
  W: otherRanges(WORD),
  s: BLANK,
  S: otherRanges(BLANK),
};
const CONTROLS: Readonly<Record<string, string>> = { n: '\n', r: '\r', t: '\t', f: '\f', v: '\v', 0: '\0' };
const REMEDY = 'write the pattern without it';
const MAX_CHARACTERS = 8_192;
/** Of groups in each other. */
const MAX_GROUPS = 64;

class RegexParser {
  readonly #input: CharacterReader;
  #groups = 0;

  constructor(pattern: string) {
    if (pattern.length > MAX_CHARACTERS)
      throw new GrammarError('too-large', `a pattern of more than ${MAX_CHARACTERS} characters; shorten it`);
    this.#input = new CharacterReader(pattern, () => unsupported('a pattern that ends too early'));
  }

  parse(): Node {
    const node = this.#choice();
    if (this.#input.at < this.#input.characters.length) throw unsupported('a pattern with an unmatched “)”');
    return node;
  }

  #choice(): Node {
    const options = [this.#sequence()];
    while (this.#input.take('|')) options.push(this.#sequence());
    return options.length === 1 ? options[0]! : { kind: 'choice', options };
  }

  #sequence(): Node {
    const parts: Node[] = [];
    for (let next = this.#input.peek(); next !== undefined && next !== '|' && next !== ')'; next = this.#input.peek())
      parts.push(this.#repeated());
    return { kind: 'sequence', parts };
  }

  #repeated(): Node {
    const part = this.#atom();
    const bounds = this.#bounds();
    if (!bounds) return part;
    if (part.kind === 'anchor') throw unsupported(`“${part.at}” with a repetition; ${REMEDY}`);
    // Lazy ones match the same texts.
    this.#input.take('?');
    if (this.#input.take('+')) throw unsupported(`a possessive repetition; ${REMEDY}`);
    return { kind: 'repeat', part, ...bounds };
  }

  #bounds(): { least: number; most: number } | undefined {
    if (this.#input.take('*')) return { least: 0, most: Infinity };
    if (this.#input.take('+')) return { least: 1, most: Infinity };
    if (this.#input.take('?')) return { least: 0, most: 1 };
    if (!this.#input.take('{')) return undefined;
    const least = this.#number();
    let most = least;
    if (this.#input.take(',')) most = this.#input.peek() === '}' ? Infinity : this.#number();
    if (!this.#input.take('}') || most < least) throw unsupported('a pattern with a bad repetition in braces');
    return { least, most };
  }

  #number(): number {
    let digits = '';
    while (/^\d$/.test(this.#input.peek() ?? '')) digits += this.#input.characters[this.#input.at++];
    if (digits === '' || digits.length > 6) throw unsupported('a pattern with a bad repetition in braces');
    return Number(digits);
  }

  #atom(): Node {
    const character = this.#input.next();
    if (character === '^' || character === '$') return { kind: 'anchor', at: character };
    if (character === '.') return { kind: 'set', ranges: otherRanges(LINE_ENDS) };
    if (character === '(') return this.#group();
    if (character === '[') return { kind: 'set', ranges: this.#set() };
    if (character === '\\') return { kind: 'set', ranges: this.#escape(false) };
    if ('*+?{}]'.includes(character)) throw unsupported(`a pattern with a stray “${character}”; escape it`);
    return { kind: 'set', ranges: [single(character)] };
  }

  #group(): Node {
    if (++this.#groups > MAX_GROUPS) throw unsupported(`a pattern with more than ${MAX_GROUPS} groups in each other`);
    if (this.#input.take('?') && !this.#input.take(':')) this.#groupName();
    const node = this.#choice();
    if (!this.#input.take(')')) throw unsupported('a pattern with an unmatched “(”');
    this.#groups--;
    return node;
  }

  /** Names don't matter, since nothing can refer to them. */
  #groupName(): void {
    if (!this.#input.take('<') || this.#input.peek() === '=' || this.#input.peek() === '!')
      throw unsupported(`lookaround or flags in a pattern; ${REMEDY}`);
    while (this.#input.next() !== '>');
  }

  #set(): CharRange[] {
    const isInverted = this.#input.take('^');
    const ranges: CharRange[] = [];
    while (!this.#input.take(']')) {
      const first = this.#setMember();
      // A hyphen before the end is itself.
      if (this.#input.peek() !== '-' || this.#input.characters[this.#input.at + 1] === ']') {
        ranges.push(...first);
        continue;
      }
      this.#input.at++;
      const last = this.#setMember();
      const [low, high] = [singleOf(first), singleOf(last)];
      if (low === undefined || high === undefined || low > high) throw unsupported('a pattern with a bad range in […]');
      ranges.push([low, high]);
    }
    return isInverted ? otherRanges(ranges) : normalRanges(ranges);
  }

  #setMember(): readonly CharRange[] {
    const character = this.#input.next();
    return character === '\\' ? this.#escape(true) : [single(character)];
  }

  #escape(isInSet: boolean): readonly CharRange[] {
    const character = this.#input.next();
    const known = CLASSES[character];
    if (known) return known;
    if (character === 'b' && isInSet) return [single('\b')];
    if (character === 'x') return [this.#hex(2)];
    if (character === 'u') return [this.#input.take('{') ? this.#bracedHex() : this.#unicode()];
    if (character === 'c' && /^[A-Za-z]$/.test(this.#input.peek() ?? '')) {
      const code = this.#input.next().codePointAt(0)! % 32;
      return [[code, code]];
    }
    const control = CONTROLS[character];
    if (control !== undefined && !(character === '0' && /^\d$/.test(this.#input.peek() ?? '')))
      return [single(control)];
    if (/^[a-zA-Z0-9]$/.test(character)) throw unsupported(`“\\${character}” in a pattern; ${REMEDY}`);
    return [single(character)];
  }

  #unicode(): CharRange {
    const [high] = this.#hex(4);
    const rest = this.#input.characters.slice(this.#input.at, this.#input.at + 6).join('');
    if (high < 0xd800 || high > 0xdbff || !/^\\u[dD][c-fC-F][\da-fA-F]{2}$/.test(rest)) return [high, high];
    this.#input.at += 2;
    return single(String.fromCharCode(high, this.#hex(4)[0]));
  }

  #bracedHex(): CharRange {
    let digits = '';
    for (let next = this.#input.next(); next !== '}'; next = this.#input.next()) digits += next;
    return hexRange(/^[\da-fA-F]{1,6}$/.test(digits) ? digits : '');
  }

  #hex(length: number): CharRange {
    const digits = this.#input.characters.slice(this.#input.at, this.#input.at + length).join('');
    this.#input.at += length;
    return hexRange(/^[\da-fA-F]+$/.test(digits) && digits.length === length ? digits : '');
  }
}

const singleOf = (ranges: readonly CharRange[]): number | undefined =>
  ranges.length === 1 && ranges[0]![0] === ranges[0]![1] ? ranges[0]![0] : undefined;

function hexRange(digits: string): CharRange {
  const code = digits === '' ? Infinity : Number.parseInt(digits, 16);
  if (code > 0x10ffff) throw unsupported('a pattern with a bad escape of a code point');
  return [code, code];
}

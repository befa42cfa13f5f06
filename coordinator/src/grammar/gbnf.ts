import { CharacterReader } from './character-reader.ts';
import {
  call,
  type CharRange,
  choice,
  type Expression,
  isBroken,
  normalRanges,
  otherRanges,
  repeat,
  type Rule,
  sequence,
  text,
} from './expression.ts';
import { unsupported } from './grammar-error.ts';

/** The grammar's rule `root`. Reads llama.cpp's dialect, in which a rule is `name ::= alternatives`. */
export function gbnfExpression(grammar: string): Expression {
  return new GbnfParser(grammar).parse();
}

const ESCAPES: Readonly<Record<string, string>> = { n: '\n', r: '\r', t: '\t' };
const HEX_LENGTHS: Readonly<Record<string, number>> = { x: 2, u: 4, U: 8 };
const NAME = /^[a-zA-Z0-9_-]$/;
const MAX_GROUPS = 64;
/** Of one part, such as in `a*+`. */
const MAX_REPEATS = 4;

const HALF = 'half of a surrogate pair, which is no character; write \\U and the eight digits of the whole';
/** Characters between braces. */
const MAX_BOUNDS = 32;

class GbnfParser {
  readonly #input: CharacterReader;
  #groups = 0;
  readonly #rules = new Map<string, Rule>();

  constructor(grammar: string) {
    this.#input = new CharacterReader(grammar, () => this.#wrong('it ends too early'));
  }

  parse(): Expression {
    this.#skip(true);
    while (this.#input.at < this.#input.characters.length) this.#rule();
    for (const { name, body } of this.#rules.values())
      if (!body) throw unsupported(`the rule “${name}” is not defined`);
    const root = this.#rules.get('root');
    if (!root) throw unsupported('there is no rule “root”');
    return call(root);
  }

  #rule(): void {
    const rule = this.#ruleOf(this.#name());
    this.#skip(false);
    for (const character of '::=') if (!this.#input.take(character)) throw this.#wrong('“::=” is missing');
    if (rule.body) throw this.#wrong(`the rule “${rule.name}” is defined twice`);
    this.#skip(true);
    rule.body = this.#choice(false);
    const next = this.#input.peek();
    if (next !== undefined && next !== '\n' && next !== '\r') throw this.#wrong(`“${next}” is not expected`);
    this.#skip(true);
  }

  #ruleOf(name: string): Rule {
    const rule = this.#rules.get(name) ?? { name };
    this.#rules.set(name, rule);
    return rule;
  }

  #choice(isNested: boolean): Expression {
    const options = [this.#sequence(isNested)];
    while (this.#takesBar()) {
      this.#skip(true);
      options.push(this.#sequence(isNested));
    }
    return choice(...options);
  }

  /** Which may stand at the beginning of the next line. */
  #takesBar(): boolean {
    const before = this.#input.at;
    this.#skip(true);
    if (this.#input.take('|')) return true;
    this.#input.at = before;
    return false;
  }

  #sequence(isNested: boolean): Expression {
    const parts: Expression[] = [];
    for (let next = this.#input.peek(); next !== undefined; next = this.#input.peek()) {
      if (next === '|' || next === ')' || next === '\n' || next === '\r') break;
      const part = this.#item();
      this.#skip(isNested);
      parts.push(this.#repeated(part, isNested));
    }
    return sequence(...parts);
  }

  #repeated(part: Expression, isNested: boolean): Expression {
    let repeated = part;
    let times = 0;
    for (let bounds = this.#bounds(); bounds; bounds = this.#bounds()) {
      if (++times > MAX_REPEATS) throw this.#wrong(`more than ${MAX_REPEATS} repetitions of one part`);
      repeated = repeat(repeated, bounds.least, bounds.most);
      this.#skip(isNested);
    }
    return repeated;
  }

  #bounds(): { least: number; most: number } | undefined {
    if (this.#input.take('*')) return { least: 0, most: Infinity };
    if (this.#input.take('+')) return { least: 1, most: Infinity };
    if (this.#input.take('?')) return { least: 0, most: 1 };
    if (!this.#input.take('{')) return undefined;
    let inside = '';
    while (!this.#input.take('}')) {
      inside += this.#input.next();
      if (inside.length > MAX_BOUNDS) throw this.#wrong('a bad repetition in braces');
    }
    const [, least, comma, most] = /^\s*(\d{0,6})\s*(,?)\s*(\d{0,6})\s*$/.exec(inside) ?? [];
    if (least === undefined || (least === '' && most === '')) throw this.#wrong('a bad repetition in braces');
    const low = Number(least);
    const high = comma === '' ? low : most === '' ? Infinity : Number(most);
    if (high < low) throw this.#wrong('a bad repetition in braces');
    return { least: low, most: high };
  }

  #item(): Expression {
    const character = this.#input.peek()!;
    if (NAME.test(character)) return call(this.#ruleOf(this.#name()));
    this.#input.at++;
    if (character === '"') return this.#text();
    if (character === '[') return { kind: 'chars', ranges: this.#set() };
    if (character === '.') return { kind: 'chars', ranges: otherRanges([]) };
    if (character === '<' || character === '!')
      throw this.#wrong('tokens in a grammar are not supported; write their text');
    if (character !== '(') throw this.#wrong(`“${character}” is not expected`);
    if (++this.#groups > MAX_GROUPS) throw unsupported(`more than ${MAX_GROUPS} groups in each other`);
    this.#skip(true);
    const group = this.#choice(true);
    if (!this.#input.take(')')) throw this.#wrong('“)” is missing');
    this.#groups--;
    return group;
  }

  #text(): Expression {
    let value = '';
    while (!this.#input.take('"')) value += String.fromCodePoint(this.#character());
    if (isBroken(value)) throw this.#wrong(HALF);
    return text(value);
  }

  #set(): CharRange[] {
    const isInverted = this.#input.take('^');
    const ranges: CharRange[] = [];
    while (!this.#input.take(']')) {
      const first = this.#character();
      const isRange = this.#input.peek() === '-' && this.#input.characters[this.#input.at + 1] !== ']';
      if (isRange) this.#input.at++;
      const last = isRange ? this.#character() : first;
      if (last < first) throw this.#wrong('a bad range in […]');
      if (isBroken(String.fromCodePoint(first)) || isBroken(String.fromCodePoint(last))) throw this.#wrong(HALF);
      ranges.push([first, last]);
    }
    return isInverted ? otherRanges(ranges) : normalRanges(ranges);
  }

  #character(): number {
    const character = this.#input.next();
    if (character !== '\\') return character.codePointAt(0)!;
    const escape = this.#input.next();
    const known = ESCAPES[escape];
    if (known !== undefined) return known.codePointAt(0)!;
    const length = HEX_LENGTHS[escape];
    if (length === undefined) {
      if (!'"\\[]-^'.includes(escape)) throw this.#wrong(`“\\${escape}” is no escape`);
      return escape.codePointAt(0)!;
    }
    const digits = this.#input.characters.slice(this.#input.at, this.#input.at + length).join('');
    this.#input.at += length;
    const code = /^[\da-fA-F]+$/.test(digits) && digits.length === length ? Number.parseInt(digits, 16) : Infinity;
    if (code > 0x10ffff) throw this.#wrong('a bad escape of a code point');
    return code;
  }

  #name(): string {
    let name = '';
    while (NAME.test(this.#input.peek() ?? '')) name += this.#input.next();
    if (name === '') throw this.#wrong('a rule’s name is missing');
    return name;
  }

  /** White space and comments, and new lines where a rule goes on. */
  #skip(newLines: boolean): void {
    for (let next = this.#input.peek(); next !== undefined; next = this.#input.peek()) {
      if (next === '#') {
        while (this.#input.peek() !== undefined && this.#input.peek() !== '\n' && this.#input.peek() !== '\r')
          this.#input.at++;
      } else if (next === ' ' || next === '\t' || (newLines && (next === '\n' || next === '\r'))) {
        this.#input.at++;
      } else {
        break;
      }
    }
  }

  #wrong(what: string): Error {
    const line = this.#input.characters.slice(0, this.#input.at).filter((character) => character === '\n').length + 1;
    return unsupported(`line ${line}: ${what}`);
  }
}

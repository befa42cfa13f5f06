import {
  call,
  type CharRange,
  chars,
  choice,
  commonRanges,
  type Expression,
  NEVER,
  otherRanges,
  repeat,
  type Rule,
  sequence,
  text,
} from './expression.ts';
import { without } from './without.ts';
import { unsupported } from './grammar-error.ts';
import type { PlainValue } from './grammar-source.ts';
import { refused, type SchemaContext, type SchemaPart } from './json/schema-reader.ts';
import { compilerOf } from './json/schema-compiler.ts';
import { limitsOf, shapeExpression } from './json/string-schema.ts';
import { productiveParts } from './productive.ts';
import type { RegexStyle } from './regex.ts';
import { untilRules } from './until.ts';

/** Characters that are counted with all that may stand among them. */
const MAX_EXACT = 1_024;

/** Writes a text in which special tokens may stand. */
type Literal = (value: string) => Expression;

/** A value and what ends it. `closeId` is the token of `close`, if that is one. */
export function plainValue(part: PlainValue, literal: Literal, closeId: number | undefined): Expression {
  const { value: schema, line, close, kinds } = part;
  const closing = call({ name: 'closing', body: literal(`${line}${close}`) });
  const string = new PlainStrings(part, closing, closeId);
  const { strings, others } = compilerOf(schema).compileApart({
    value: (value) => string.of(value),
    anyOf: (compiler, parts) => string.fitting(compiler, parts),
  });
  const [text, json] = [literal(`${kinds?.text ?? ''}${line}`), literal(`${kinds?.json ?? ''}${line}`)];
  // Any text may also be one that reads as JSON.
  if (!kinds && strings.includes(string.any)) return sequence(text, string.any);
  // JSON's strings can spell every character in another way.
  const other = without(choice(...others), close.codePointAt(0)!);
  return choice(sequence(text, choice(...strings)), sequence(json, other, closing));
}

/** Strings as they are, with what ends them: each one ends where `close` first comes, or the line before it. */
class PlainStrings {
  /** A string of any text. */
  readonly any: Expression;
  readonly #part: PlainValue;
  readonly #closing: Expression;
  readonly #until: readonly Expression[];
  readonly #style: RegexStyle;
  readonly #first: CharRange;
  readonly #second: CharRange;

  constructor(part: PlainValue, closing: Expression, closeId: number | undefined) {
    const [first, second] = Array.from(part.close, (character): CharRange => {
      const point = character.codePointAt(0)!;
      return [point, point];
    });
    if (!first || !second) throw new Error('what closes a value has two characters or more');
    [this.#first, this.#second] = [first, second];
    this.#part = part;
    this.#closing = closing;
    // The line before it belongs to it, and may be left out.
    this.#until = untilRules(part.close, closeId);
    this.any = this.#until[0]!;
    const allowed = otherRanges([first]);
    this.#style = {
      spell: (ranges) => chars(...commonRanges(ranges, allowed)),
      around: repeat(chars(...allowed), 0, Infinity),
    };
  }

  of(value: string): Expression {
    const { close } = this.#part;
    if (value.includes(close)) throw unsupported(`the value ${JSON.stringify(value.slice(0, 80))} contains “${close}”`);
    return sequence(text(value), this.#closing);
  }

  fitting(compiler: SchemaContext, parts: readonly SchemaPart[]): Expression {
    const limits = limitsOf(parts);
    const { least, most, shape } = limits;
    if (least > most) return NEVER;
    if (!shape) return least > 0 || most < Infinity ? this.#counted(least, most) : this.any;
    const match = shapeExpression(compiler, { ...limits, shape }, this.#style);
    if (!productiveParts(match).has(match))
      throw refused(shape.keyword, shape.place, `let it match a text without “${this.#part.close[0]}”`);
    return sequence(match, this.#closing);
  }

  /**
   * Text of so many characters. Those that are counted do not hold the first two of `close` in a row, and where they are many
   * not even the first: each would take seven times as much of the grammar.
   */
  #counted(least: number, most: number): Expression {
    const { line } = this.#part;
    if (most < Infinity && most > MAX_EXACT)
      return sequence(repeat(chars(...otherRanges([this.#first])), least, most), this.#closing);
    // Where the length has no upper bound, a line end may be one before `close`, which does not count.
    const length = most < Infinity ? most : least + line.length;
    const others: Rule = { name: 'character', body: chars(...otherRanges([this.#first, this.#second])) };
    // What is counted is no part of `close`.
    const free = choice(sequence(call(others), this.#until[0]!), sequence(chars(this.#first), this.#until[1]!));
    let [any, first] = most < Infinity ? [this.#closing, this.#closing] : [this.#until[0]!, free];
    for (let index = length - 1; index >= 0; index--) {
      const end = most < Infinity && index >= least ? [this.#closing] : [];
      const [other, again] = [sequence(call(others), any), sequence(chars(this.#first), first)];
      first = call({ name: 'counted', body: choice(other, again, ...end) });
      any = call({ name: 'counted', body: choice(sequence(chars(this.#second), any), first) });
    }
    return any;
  }
}

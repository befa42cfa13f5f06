import { choice, EMPTY, type Expression, optional, repeat, sequence, text } from './expression.ts';
import { gbnfExpression } from './gbnf.ts';
import { GrammarError, unsupported } from './grammar-error.ts';
import type { GrammarPart, GrammarSource, PlainValue } from './grammar-source.ts';
import { JSON_OBJECT } from './json/json-values.ts';
import { schemaExpression } from './json/schema-compiler.ts';
import { plainValue } from './plain-value.ts';
import { regexExpression } from './regex.ts';
import { until } from './until.ts';

/** What answers fit a source; literal parts of sequences may be spelled with these special tokens. Throws a GrammarError. */
export function expressionOf(source: GrammarSource, specials: ReadonlyMap<string, number>): Expression {
  switch (source.kind) {
    case 'json-object':
      return JSON_OBJECT;
    case 'json-schema':
      return named('JSON schema', () => schemaExpression(source.schema));
    case 'regex':
      return named('regular expression', () =>
        regexExpression(source.pattern, { spell: (ranges) => ({ kind: 'chars', ranges }), around: EMPTY }),
      );
    case 'choice':
      if (source.choices.length === 0) throw unsupported('a choice of nothing; give at least one');
      return choice(...source.choices.map((option) => text(option)));
    case 'gbnf':
      return named('grammar', () => gbnfExpression(source.grammar));
    case 'after':
      return sequence(partsOf(source.parts, specials), expressionOf(source.source, specials));
    case 'either':
      return choice(...source.sources.map((one) => expressionOf(one, specials)));
    case 'sequences':
      return sequences(source, specials);
    default:
      return source satisfies never;
  }
}

/** Says what kind of source is at fault. */
function named(kind: string, make: () => Expression): Expression {
  try {
    return make();
  } catch (thrown) {
    if (!(thrown instanceof GrammarError)) throw thrown;
    throw new GrammarError(thrown.reason, `${kind}: ${thrown.message}`);
  }
}

function sequences(
  { sequences: options, repeat: repetition }: Extract<GrammarSource, { kind: 'sequences' }>,
  specials: ReadonlyMap<string, number>,
): Expression {
  if (options.length === 0) throw unsupported('a choice of no sequences; give at least one');
  const one = choice(...options.map((parts) => partsOf(parts, specials)));
  if (!repetition) return one;
  const { most, separator, before = '', after = '' } = repetition;
  const more = repeat(sequence(literal(separator, specials), one), 0, Math.max(0, most - 1));
  return sequence(literal(before, specials), one, more, literal(after, specials));
}

const partsOf = (parts: readonly GrammarPart[], specials: ReadonlyMap<string, number>): Expression =>
  sequence(...parts.map((part) => partOf(part, specials)));

const valueOf = (part: PlainValue, specials: ReadonlyMap<string, number>): Expression =>
  plainValue(part, (value) => literal(value, specials), specials.get(part.close));

function partOf(part: GrammarPart, specials: ReadonlyMap<string, number>): Expression {
  if (typeof part === 'string') return literal(part, specials);
  if ('choice' in part) return choice(...part.choice.map((option) => literal(option, specials)));
  if ('until' in part) return until(part.until, specials.get(part.until));
  if ('optional' in part) return optional(partsOf(part.optional, specials));
  if ('either' in part) return choice(...part.either.map((parts) => partsOf(parts, specials)));
  if ('value' in part) return named('JSON schema', () => valueOf(part, specials));
  const { schema } = part;
  return named('JSON schema', () => schemaExpression(schema));
}

/** A text in which special tokens may stand as such, or be spelled. */
function literal(value: string, specials: ReadonlyMap<string, number>): Expression {
  const parts: Expression[] = [];
  let plain = '';
  for (let at = 0; at < value.length;) {
    const special = longestAt(value, at, specials);
    if (special === undefined) {
      plain += value[at++];
      continue;
    }
    if (plain !== '') parts.push(text(plain));
    plain = '';
    parts.push(choice({ kind: 'token', id: specials.get(special)! }, text(special)));
    at += special.length;
  }
  return sequence(...parts, ...(plain === '' ? [] : [text(plain)]));
}

function longestAt(value: string, at: number, specials: ReadonlyMap<string, number>): string | undefined {
  let longest: string | undefined;
  for (const special of specials.keys())
    if (special.length > (longest?.length ?? 0) && value.startsWith(special, at)) longest = special;
  return longest;
}

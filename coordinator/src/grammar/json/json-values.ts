import {
  call,
  type CharRange,
  chars,
  choice,
  commonRanges,
  DIGIT,
  EMPTY,
  type Expression,
  MAX_CODE_POINT,
  oneOf,
  optional,
  repeat,
  type Rule,
  sequence,
  text,
} from '../expression.ts';

/** Before an answer's first character, where it is tolerated. */
export const WHITESPACE: Expression = repeat(oneOf(' \n\r\t'), 0, 16);

/** Between the parts of JSON: none, a space, or a new line and its indentation. More would let a model write blanks for ever. */
export const SPACE: Expression = call({
  name: 'space',
  body: choice(EMPTY, text(' '), sequence(text('\n'), repeat(oneOf(' \t'), 0, 20))),
});

/** Characters that stand for themselves in a JSON string. */
const PLAIN: readonly CharRange[] = [
  [0x20, 0x21],
  [0x23, 0x5b],
  [0x5d, MAX_CODE_POINT],
];
const QUOTED: readonly CharRange[] = [
  [0, 0x1f],
  [0x22, 0x22],
  [0x5c, 0x5c],
];
const HEX = chars([0x30, 0x39], [0x41, 0x46], [0x61, 0x66]);
/** Of no half of a surrogate pair. */
const FOUR_HEX = choice(
  sequence(oneOf('0123456789abcefABCEF'), repeat(HEX, 3, 3)),
  sequence(oneOf('dD'), oneOf('01234567'), repeat(HEX, 2, 2)),
);
/** One character of any string. */
export const JSON_CHARACTER: Expression = choice(
  chars(...PLAIN),
  sequence(text('\\'), choice(oneOf('"\\/bfnrt'), sequence(text('u'), FOUR_HEX))),
);

/** One of some characters as it stands in a JSON string, escaped only where it has to be. */
export function jsonSpelling(ranges: readonly CharRange[]): Expression {
  const escaped = commonRanges(ranges, QUOTED).flatMap(([first, last]) =>
    Array.from({ length: last - first + 1 }, (_, index) => jsonText(String.fromCodePoint(first + index))),
  );
  return choice(chars(...commonRanges(ranges, PLAIN)), ...escaped);
}

/** A text as it stands in a JSON string. */
export const jsonText = (value: string): Expression => text(JSON.stringify(value).slice(1, -1));

export const quoted = (content: Expression): Expression => sequence(text('"'), content, text('"'));

export const JSON_STRING: Expression = call({ name: 'string', body: quoted(repeat(JSON_CHARACTER, 0, Infinity)) });

/** Digits are few enough for a double to tell numbers apart, and exponents so small that none becomes infinite. */
export const MAX_DIGITS = 15;
export const JSON_INTEGER: Expression = call({
  name: 'integer',
  body: sequence(
    optional(text('-')),
    choice(text('0'), sequence(chars([0x31, 0x39]), repeat(DIGIT, 0, MAX_DIGITS - 1))),
  ),
});
export const JSON_NUMBER: Expression = call({
  name: 'number',
  body: sequence(
    JSON_INTEGER,
    optional(sequence(text('.'), repeat(DIGIT, 1, MAX_DIGITS))),
    optional(sequence(oneOf('eE'), optional(oneOf('+-')), repeat(DIGIT, 1, 2))),
  ),
});

/** A list of parts in brackets. */
export function bracketed(open: string, content: Expression, close: string): Expression {
  return sequence(text(open), SPACE, content, text(close));
}

export const COMMA: Expression = sequence(text(','), SPACE);
export const COLON: Expression = sequence(text(':'), SPACE);

const valueRule: Rule = { name: 'value' };
export const JSON_VALUE: Expression = call(valueRule);

/** A part and the space after it. */
const spaced = (part: Expression): Expression => sequence(part, SPACE);
const listOf = (item: Expression): Expression => optional(sequence(item, repeat(sequence(COMMA, item), 0, Infinity)));

export const JSON_OBJECT: Expression = call({
  name: 'object',
  body: bracketed('{', listOf(spaced(sequence(JSON_STRING, COLON, JSON_VALUE))), '}'),
});
export const JSON_ARRAY: Expression = call({ name: 'array', body: bracketed('[', listOf(spaced(JSON_VALUE)), ']') });
valueRule.body = choice(
  JSON_OBJECT,
  JSON_ARRAY,
  JSON_STRING,
  JSON_NUMBER,
  ...['true', 'false', 'null'].map((word) => text(word)),
);

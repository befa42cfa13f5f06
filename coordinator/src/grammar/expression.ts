/** Code points from the first to the last, both included. */
export type CharRange = readonly [first: number, last: number];

/** A named part of a grammar, which may refer to itself. */
export interface Rule {
  readonly name: string;
  /** Set once it is known; expressions that refer to it may be made before. */
  body?: Expression;
}

/** What texts a part of an answer may be. All sources are turned into these. */
export type Expression =
  | { kind: 'text'; text: string }
  | { kind: 'chars'; ranges: readonly CharRange[] }
  /** A special token, which no text is equal to. */
  | { kind: 'token'; id: number }
  | { kind: 'sequence'; parts: readonly Expression[] }
  | { kind: 'choice'; options: readonly Expression[] }
  | { kind: 'repeat'; part: Expression; least: number; most: number }
  | { kind: 'rule'; rule: Rule };

export const MAX_CODE_POINT = 0x10ffff;

/** Nothing fits it. */
export const NEVER: Expression = { kind: 'choice', options: [] };
export const EMPTY: Expression = { kind: 'sequence', parts: [] };

export const text = (value: string): Expression => ({ kind: 'text', text: value });
export const chars = (...ranges: CharRange[]): Expression => ({ kind: 'chars', ranges });
export const sequence = (...parts: Expression[]): Expression =>
  parts.length === 1 ? parts[0]! : { kind: 'sequence', parts };
export const choice = (...options: Expression[]): Expression =>
  options.length === 1 ? options[0]! : { kind: 'choice', options };
export const repeat = (part: Expression, least: number, most: number): Expression => ({
  kind: 'repeat',
  part,
  least,
  most,
});
export const optional = (part: Expression): Expression => repeat(part, 0, 1);
export const call = (rule: Rule): Expression => ({ kind: 'rule', rule });

/** Any of the characters of a text. */
export const oneOf = (characters: string): Expression =>
  chars(...Array.from(characters, (character): CharRange => [character.codePointAt(0)!, character.codePointAt(0)!]));

/** Whether it holds half of a surrogate pair, which has no bytes. */
export const isBroken = (value: string): boolean => /\p{Surrogate}/u.test(value);

export const DIGIT: Expression = chars([0x30, 0x39]);

/** In order, without overlaps. */
export function normalRanges(ranges: readonly CharRange[]): CharRange[] {
  const sorted = ranges.filter(([first, last]) => first <= last).sort((a, b) => a[0] - b[0]);
  const merged: [number, number][] = [];
  for (const [first, last] of sorted) {
    const previous = merged.at(-1);
    if (previous && first <= previous[1] + 1) previous[1] = Math.max(previous[1], last);
    else merged.push([first, last]);
  }
  return merged;
}

/** All other code points. */
export function otherRanges(ranges: readonly CharRange[]): CharRange[] {
  const others: CharRange[] = [];
  let next = 0;
  for (const [first, last] of normalRanges(ranges)) {
    if (first > next) others.push([next, first - 1]);
    next = last + 1;
  }
  if (next <= MAX_CODE_POINT) others.push([next, MAX_CODE_POINT]);
  return others;
}

export const commonRanges = (a: readonly CharRange[], b: readonly CharRange[]): CharRange[] =>
  otherRanges([...otherRanges(a), ...otherRanges(b)]);

export const JSON_WORDS = { boolean: [text('true'), text('false')], null: text('null') } as const;

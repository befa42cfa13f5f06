import { call, chars, choice, EMPTY, type Expression, otherRanges, type Rule, sequence } from './expression.ts';

/**
 * Any text up to and with the first occurrence of `marker`, which is not empty and may also come as the token `tokenId`. Rules are
 * the states of a search for it (Knuth, Morris and Pratt 1977): rule k has read k of its characters.
 */
export function until(marker: string, tokenId: number | undefined): Expression {
  return untilRules(marker, tokenId)[0]!;
}

/** The same by how many of the marker's characters have come. */
export function untilRules(marker: string, tokenId: number | undefined): Expression[] {
  const wanted = Array.from(marker, (character) => character.codePointAt(0)!);
  const rules: Rule[] = wanted.map((_, length) => ({ name: `until ${length}` }));
  const known = [...new Set(wanted)];
  const goOn = (length: number): Expression => (length === wanted.length ? EMPTY : call(rules[length]!));
  const others = chars(...otherRanges(known.map((point) => [point, point])));
  for (const [length, rule] of rules.entries()) {
    rule.body = choice(
      ...known.map((point) => sequence(chars([point, point]), goOn(lengthAfter(wanted, length, point)))),
      sequence(others, call(rules[0]!)),
      ...(tokenId === undefined ? [] : [{ kind: 'token', id: tokenId } as const]),
    );
  }
  return rules.map(call);
}

/** How much of `wanted` has been read after its first `length` characters and `point`. */
function lengthAfter(wanted: readonly number[], length: number, point: number): number {
  const read = [...wanted.slice(0, length), point];
  for (let start = 0; start < read.length; start++) {
    if (read.slice(start).every((one, index) => one === wanted[index])) return read.length - start;
  }
  return 0;
}

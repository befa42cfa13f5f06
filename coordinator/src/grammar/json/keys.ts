import {
  call,
  type CharRange,
  chars,
  choice,
  commonRanges,
  EMPTY,
  type Expression,
  otherRanges,
  repeat,
  sequence,
  text,
} from '../expression.ts';
import { unsupported } from '../grammar-error.ts';
import { quoted } from './json-values.ts';
import type { SchemaContext } from './schema-reader.ts';

/** Characters that need no escape, so that a key can be written in one way only. */
const PLAIN: readonly CharRange[] = [
  [0x20, 0x21],
  [0x23, 0x5b],
  [0x5d, 0x10ffff],
];
const MAX_NAME = 128;
/** What a character of a name counts as. */
const CHARACTER_STEPS = 4;

interface Node {
  isName: boolean;
  children: Map<string, Node>;
}

/** Keys that are none of the given names. */
export function keyExcept(compiler: SchemaContext, names: readonly string[]): Expression {
  const root: Node = { isName: false, children: new Map() };
  for (const name of names) {
    if (name.length > MAX_NAME)
      throw unsupported(
        `a property’s name of more than ${MAX_NAME} characters beside additionalProperties; shorten it`,
      );
    compiler.spend(CHARACTER_STEPS * name.length);
    let at = root;
    for (const character of name) {
      const next = at.children.get(character) ?? { isName: false, children: new Map<string, Node>() };
      at.children.set(character, next);
      at = next;
    }
    at.isName = true;
  }
  return call({ name: 'other key', body: quoted(notIn(root)) });
}

function notIn({ isName, children }: Node): Expression {
  const taken = [...children.keys()].map((character): CharRange => {
    const code = character.codePointAt(0)!;
    return [code, code];
  });
  const different = sequence(chars(...commonRanges(PLAIN, otherRanges(taken))), repeat(chars(...PLAIN), 0, Infinity));
  const longer = [...children].map(([character, node]) => sequence(text(character), notIn(node)));
  return choice(...(isName ? [] : [EMPTY]), different, ...longer);
}

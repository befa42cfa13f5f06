import { repeat } from '../expression.ts';
import type { RegexStyle } from '../regex.ts';
import { JSON_CHARACTER, jsonSpelling } from './json-values.ts';
import type { SchemaContext } from './schema-reader.ts';

/** What spelling one set of characters counts as. */
const SPELLING_STEPS = 24;

/** Patterns in JSON strings, whose characters are counted. */
export const jsonStyle = (compiler: SchemaContext): RegexStyle => ({
  spell: (ranges) => {
    compiler.spend(ranges.length === 1 ? 4 : SPELLING_STEPS);
    return jsonSpelling(ranges);
  },
  around: repeat(JSON_CHARACTER, 0, Infinity),
});

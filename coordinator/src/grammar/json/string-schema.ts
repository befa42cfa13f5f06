import { call, choice, EMPTY, type Expression, NEVER, repeat, sequence } from '../expression.ts';
import { GrammarError } from '../grammar-error.ts';
import { regexExpression, type RegexStyle } from '../regex.ts';
import { formatPattern, STRING_FORMATS } from './formats.ts';
import { jsonStyle } from './json-style.ts';
import { JSON_CHARACTER, JSON_STRING, jsonSpelling, quoted } from './json-values.ts';
import { countAt, refused, type SchemaContext, type SchemaPart, textAt } from './schema-reader.ts';

/** Bounds of a string's length beyond this are not counted out character by character. */
const MAX_COUNTED = 8_192;
/** Agents' tools have a `maxLength` of 512 Ki for a whole script; no context holds more than this. */
const MAX_LENGTH = 2 ** 22;
/** Characters of which longer strings are counted in blocks. */
const BLOCK = 2_048;

/** What schemas say about a string. */
interface Limits {
  least: number;
  most: number;
  shape: Shape | undefined;
}

interface Shape {
  keyword: 'pattern' | 'format';
  pattern: string;
  place: string;
}

export function stringExpression(compiler: SchemaContext, parts: readonly SchemaPart[]): Expression {
  const { least, most, shape } = limitsOf(parts);
  if (least > most) return NEVER;
  if (shape?.keyword === 'format') return formatExpression(shape.pattern);
  if (shape) return quoted(shapeExpression(compiler, { least, most, shape }, jsonStyle(compiler)));
  return least > 0 || most < Infinity ? quoted(charactersOf(least, most)) : JSON_STRING;
}

const formats = new Map<string, Expression>();

/** The strings of a format as JSON; each is made once. */
function formatExpression(pattern: string): Expression {
  let known = formats.get(pattern);
  if (!known) {
    const body = quoted(regexExpression(pattern, { spell: jsonSpelling, around: EMPTY }));
    known = call({ name: 'format', body });
    formats.set(pattern, known);
  }
  return known;
}

/** The strings of a pattern or format. */
export function shapeExpression(
  compiler: SchemaContext,
  { least, most, shape }: Limits & { shape: Shape },
  style: RegexStyle,
): Expression {
  const { keyword, pattern, place } = shape;
  if (keyword === 'pattern') compiler.spend(4 * pattern.length);
  try {
    return regexExpression(pattern, style, least > 0 || most < Infinity ? { least, most } : undefined);
  } catch (thrown) {
    if (!(thrown instanceof GrammarError)) throw thrown;
    throw new GrammarError(thrown.reason, `“${keyword}” at ${place} is not supported: ${thrown.message}`);
  }
}

function charactersOf(least: number, most: number): Expression {
  if (most <= MAX_COUNTED || most === Infinity) return repeat(JSON_CHARACTER, least, most);
  const more = most - least;
  const blocks = Math.floor(more / BLOCK);
  const block = call({ name: 'block', body: repeat(JSON_CHARACTER, BLOCK, BLOCK) });
  return sequence(
    repeat(JSON_CHARACTER, least, least),
    choice(
      sequence(repeat(block, 0, blocks - 1), repeat(JSON_CHARACTER, 0, BLOCK - 1)),
      sequence(repeat(block, blocks, blocks), repeat(JSON_CHARACTER, 0, more % BLOCK)),
    ),
  );
}

/** Throws for what cannot be kept to. */
export function limitsOf(parts: readonly SchemaPart[]): Limits {
  const { least, most } = lengthsOf(parts);
  const [shape, other] = parts.flatMap((part) => shapesOf(part));
  if (shape && other)
    throw refused(other.keyword, other.place, `leave it out beside “${shape.keyword}” at ${shape.place}`);
  if (shape?.keyword === 'format' && (least > 0 || most < Infinity))
    throw refused('format', shape.place, 'leave it out beside minLength and maxLength');
  return { least, most, shape };
}

function lengthsOf(parts: readonly SchemaPart[]): { least: number; most: number } {
  let [least, most] = [0, Infinity];
  const isShaped = parts.some(({ schema }) => 'pattern' in schema || 'format' in schema);
  for (const part of parts) {
    least = Math.max(least, countAt(part, 'minLength') ?? 0);
    most = Math.min(most, countAt(part, 'maxLength') ?? Infinity);
    refuseAbove(part, 'minLength', MAX_COUNTED);
    refuseAbove(part, 'maxLength', isShaped ? MAX_COUNTED : MAX_LENGTH);
  }
  return { least, most };
}

function refuseAbove(part: SchemaPart, keyword: string, most: number): void {
  if ((countAt(part, keyword) ?? 0) <= most) return;
  throw new GrammarError('too-large', `“${keyword}” at ${part.place} is more than ${most}; leave it out or lower it`);
}

/** What a part says about the characters. */
function shapesOf(part: SchemaPart): Shape[] {
  const { place } = part;
  const pattern = textAt(part, 'pattern');
  const format = textAt(part, 'format');
  const shapes: Shape[] = pattern === undefined ? [] : [{ keyword: 'pattern', pattern, place }];
  if (format === undefined) return shapes;
  const known = formatPattern(format);
  if (known === null)
    throw refused(`format: ${format.slice(0, 40)}`, place, `use a pattern, or one of ${STRING_FORMATS.join(', ')}`);
  return known === undefined ? shapes : [...shapes, { keyword: 'format', pattern: known, place }];
}

import { call, choice, type Expression, NEVER, repeat, sequence } from '../expression.ts';
import { GrammarError } from '../grammar-error.ts';
import { regexExpression } from '../regex.ts';
import { formatExpression, STRING_FORMATS } from './formats.ts';
import { jsonStyle } from './json-style.ts';
import { JSON_CHARACTER, JSON_STRING, quoted } from './json-values.ts';
import { countAt, refused, type SchemaContext, type SchemaPart, textAt } from './schema-reader.ts';

/** Bounds of a string's length beyond this are not counted out character by character. */
const MAX_COUNTED = 8_192;
/** Agents' tools have a `maxLength` of 512 Ki for a whole script; no context holds more than this. */
const MAX_LENGTH = 2 ** 22;
/** Characters of which longer strings are counted in blocks. */
const BLOCK = 2_048;

export function stringExpression(compiler: SchemaContext, parts: readonly SchemaPart[]): Expression {
  const { least, most } = lengthsOf(parts);
  if (least > most) return NEVER;
  const hasLength = least > 0 || most < Infinity;
  const shapes = parts.flatMap((part) => shapesOf(part));
  const [shape, other] = shapes;
  if (!shape) return hasLength ? quoted(charactersOf(least, most)) : JSON_STRING;
  if (other) throw refused(other.keyword, other.place, `leave it out beside “${shape.keyword}” at ${shape.place}`);
  if (shape.keyword === 'format') {
    if (hasLength) throw refused('format', shape.place, 'leave it out beside minLength and maxLength');
    return formatExpression(shape.value)!;
  }
  compiler.spend(4 * shape.value.length);
  const style = jsonStyle(compiler);
  try {
    return quoted(regexExpression(shape.value, style, hasLength ? { least, most } : undefined));
  } catch (thrown) {
    if (!(thrown instanceof GrammarError)) throw thrown;
    throw new GrammarError(thrown.reason, `“pattern” at ${shape.place} is not supported: ${thrown.message}`);
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
function shapesOf(part: SchemaPart): { keyword: 'pattern' | 'format'; value: string; place: string }[] {
  const { place } = part;
  const pattern = textAt(part, 'pattern');
  const format = textAt(part, 'format');
  const shapes: ReturnType<typeof shapesOf> =
    pattern === undefined ? [] : [{ keyword: 'pattern', value: pattern, place }];
  if (format === undefined) return shapes;
  const expression = formatExpression(format);
  if (expression === null)
    throw refused(`format: ${format.slice(0, 40)}`, place, `use a pattern, or one of ${STRING_FORMATS.join(', ')}`);
  return expression ? [...shapes, { keyword: 'format', value: format, place }] : shapes;
}

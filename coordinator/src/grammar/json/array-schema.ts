import { EMPTY, type Expression, NEVER, optional, repeat, sequence } from '../expression.ts';
import { GrammarError } from '../grammar-error.ts';
import { bracketed, COMMA, SPACE } from './json-values.ts';
import {
  countAt,
  refused,
  type SchemaContext,
  type SchemaPart,
  type Subschema,
  subschemaAt,
  subschemasAt,
  valueOf,
} from './schema-reader.ts';

/** Bounds beyond this are not counted out. */
const MAX_ITEMS = 4_096;
const MAX_PREFIX = 128;

/** A part's schemas for an array's items. */
interface Items {
  prefix: Subschema[];
  rest: Subschema | undefined;
}

export function arrayExpression(compiler: SchemaContext, parts: readonly SchemaPart[]): Expression {
  const { least, most } = countsOf(parts);
  if (least > most) return NEVER;
  const items = parts.map((part) => itemsOf(part));
  const prefix = Math.max(0, ...items.map((own) => own.prefix.length));
  compiler.spend((prefix + 1) * parts.length);
  const saysRest = items.some((own) => own.rest !== undefined);
  // As `unevaluatedItems: false` would have it, unless more items are asked for.
  const canGoOn = saysRest || prefix === 0 || least > prefix;
  const itemAt = (index: number): Expression =>
    sequence(compiler.expressionOf(items.flatMap((own) => own.prefix[index] ?? own.rest ?? [])), SPACE);
  let content: Expression = EMPTY;
  if (canGoOn && most > prefix) content = rest(itemAt(prefix), prefix > 0, least - prefix, most - prefix);
  for (let index = Math.min(prefix, most) - 1; index >= 0; index--) {
    const item = sequence(index > 0 ? COMMA : EMPTY, itemAt(index), content);
    content = index < least ? item : optional(item);
  }
  return bracketed('[', content, ']');
}

function rest(item: Expression, isAfterOthers: boolean, least: number, most: number): Expression {
  const more = sequence(COMMA, item);
  if (isAfterOthers) return repeat(more, Math.max(0, least), most);
  const all = sequence(item, repeat(more, Math.max(0, least - 1), most - 1));
  return least > 0 ? all : optional(all);
}

function itemsOf(part: SchemaPart): Items {
  const isList = Array.isArray(valueOf(part.schema, 'items'));
  const prefix = subschemasAt(part, isList ? 'items' : 'prefixItems') ?? [];
  let rest = subschemaAt(part, isList ? 'additionalItems' : 'items');
  const unevaluated = subschemaAt(part, 'unevaluatedItems');
  if (unevaluated && typeof unevaluated.schema !== 'boolean')
    throw refused('unevaluatedItems', part.place, 'use items');
  if (unevaluated?.schema === false) rest ??= prefix.length > 0 ? unevaluated : undefined;
  if (prefix.length > MAX_PREFIX) throw tooMany('prefixItems', part, MAX_PREFIX);
  return { prefix, rest };
}

function countsOf(parts: readonly SchemaPart[]): { least: number; most: number } {
  let [least, most] = [0, Infinity];
  for (const part of parts) {
    least = Math.max(least, countAt(part, 'minItems') ?? 0);
    most = Math.min(most, countAt(part, 'maxItems') ?? Infinity);
    for (const keyword of ['minItems', 'maxItems'])
      if ((countAt(part, keyword) ?? 0) > MAX_ITEMS) throw tooMany(keyword, part, MAX_ITEMS);
  }
  const unique = parts.find(({ schema }) => schema['uniqueItems'] === true);
  if (unique && most > 1) throw refused('uniqueItems', unique.place, 'leave it out, or set maxItems to 1');
  return { least, most };
}

const tooMany = (keyword: string, { place }: SchemaPart, most: number): GrammarError =>
  new GrammarError('too-large', `“${keyword}” at ${place} is more than ${most}; leave it out or lower it`);

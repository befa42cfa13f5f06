import { unsupported } from '../grammar-error.ts';
import type { Expression } from '../expression.ts';
import type { JsonSchema } from '../grammar-source.ts';

export type SchemaObject = Readonly<Record<string, unknown>>;

/** One schema with where it stands, as a JSON pointer. */
export interface SchemaPart {
  readonly schema: SchemaObject;
  readonly place: string;
  /** Of `anyOf` and `oneOf`, those that an option has been taken from. */
  readonly chosen: readonly string[];
}

/** What the types' own files need of the compiler. */
export interface SchemaContext {
  /** Values that fit all of some schemas. */
  expressionOf(schemas: readonly Subschema[]): Expression;
  /** With what `$ref` and `allOf` add; undefined if one of them is false. */
  flatten(schemas: readonly Subschema[]): SchemaPart[] | undefined;
  /** Counts work that is done again for each set. */
  spend(steps: number): void;
}

/** Keywords that constrain answers in ways that grammars cannot follow. */
const REFUSED: ReadonlyMap<string, string> = new Map([
  ['not', 'list what is allowed instead'],
  ['if', 'use anyOf'],
  ['then', 'use anyOf'],
  ['else', 'use anyOf'],
  ['contains', 'use items or prefixItems'],
  ['minContains', 'use items or prefixItems'],
  ['maxContains', 'use items or prefixItems'],
  ['dependentRequired', 'use anyOf'],
  ['dependentSchemas', 'use anyOf'],
  ['dependencies', 'use anyOf'],
  ['$dynamicRef', 'use $ref'],
  ['$recursiveRef', 'use $ref'],
  ['$anchor', 'refer by a JSON pointer, such as #/$defs/name'],
  ['$dynamicAnchor', 'refer by a JSON pointer, such as #/$defs/name'],
]);

export const refused = (keyword: string, place: string, remedy: string): Error =>
  unsupported(`“${keyword}” at ${place} is not supported; ${remedy}`);

export function isObject(value: unknown): value is SchemaObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** Refuses keywords that cannot be kept to. Those that are unknown say nothing, as in JSON Schema. */
export function checkKeywords({ schema, place }: SchemaPart): void {
  for (const [keyword, remedy] of REFUSED) if (Object.hasOwn(schema, keyword)) throw refused(keyword, place, remedy);
  if (Object.hasOwn(schema, '$id') && place !== '#') throw refused('$id', place, 'leave it out');
}

/** A keyword's own value. */
export const valueOf = (schema: SchemaObject, keyword: string): unknown =>
  Object.hasOwn(schema, keyword) ? schema[keyword] : undefined;

const wrong = (keyword: string, place: string, kind: string): Error =>
  unsupported(`“${keyword}” at ${place} must be ${kind}`);

export function numberAt({ schema, place }: SchemaPart, keyword: string): number | undefined {
  const value = valueOf(schema, keyword);
  if (value === undefined || (typeof value === 'number' && Number.isFinite(value))) return value;
  throw wrong(keyword, place, 'a number');
}

export function countAt(part: SchemaPart, keyword: string): number | undefined {
  const value = numberAt(part, keyword);
  if (value === undefined || (Number.isSafeInteger(value) && value >= 0)) return value;
  throw wrong(keyword, part.place, 'a whole number of 0 or more');
}

export function textAt({ schema, place }: SchemaPart, keyword: string): string | undefined {
  const value = valueOf(schema, keyword);
  if (value === undefined || typeof value === 'string') return value;
  throw wrong(keyword, place, 'a string');
}

export function textsAt({ schema, place }: SchemaPart, keyword: string): readonly string[] {
  const value = valueOf(schema, keyword) ?? [];
  if (Array.isArray(value) && value.every((entry) => typeof entry === 'string')) return value as string[];
  throw wrong(keyword, place, 'a list of strings');
}

export function listAt({ schema, place }: SchemaPart, keyword: string): readonly unknown[] | undefined {
  const value = valueOf(schema, keyword);
  if (value === undefined || Array.isArray(value)) return value;
  throw wrong(keyword, place, 'a list');
}

export function mapAt({ schema, place }: SchemaPart, keyword: string): SchemaObject {
  const value = valueOf(schema, keyword) ?? {};
  if (isObject(value)) return value;
  throw wrong(keyword, place, 'an object');
}

/** A schema below a part. */
export interface Subschema {
  schema: JsonSchema;
  place: string;
}

export function subschema(value: unknown, place: string): Subschema {
  if (typeof value === 'boolean' || isObject(value)) return { schema: value, place };
  throw unsupported(`the schema at ${place} must be an object, true or false`);
}

export function subschemaAt({ schema, place }: SchemaPart, keyword: string): Subschema | undefined {
  const value = valueOf(schema, keyword);
  return value === undefined ? undefined : subschema(value, `${place}/${keyword}`);
}

export function subschemasAt(part: SchemaPart, keyword: string): Subschema[] | undefined {
  return listAt(part, keyword)?.map((value, index) => subschema(value, `${part.place}/${keyword}/${index}`));
}

/** What a `$ref` refers to. */
export function resolve(root: JsonSchema, ref: string, place: string): Subschema {
  if (ref !== '#' && !ref.startsWith('#/'))
    throw refused(
      '$ref',
      place,
      `refer to a place in the same schema, such as #/$defs/name, not to “${ref.slice(0, 80)}”`,
    );
  let at: unknown = root;
  for (const token of ref.split('/').slice(1)) {
    let key = token;
    try {
      key = decodeURIComponent(token);
    } catch {
      // Not escaped, then.
    }
    key = key.replaceAll('~1', '/').replaceAll('~0', '~');
    at = typeof at === 'object' && at !== null && Object.hasOwn(at, key) ? (at as SchemaObject)[key] : undefined;
  }
  if (at === undefined)
    throw unsupported(`“$ref” at ${place} refers to “${ref.slice(0, 80)}”, which is not in the schema`);
  return subschema(at, ref);
}

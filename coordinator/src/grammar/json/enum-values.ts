import { isObject, listAt, refused, type SchemaContext, type SchemaPart, valueOf } from './schema-reader.ts';

/** What says more about values than an enum does. */
const CONSTRAINTS = (
  'minimum maximum exclusiveMinimum exclusiveMaximum multipleOf minLength maxLength pattern properties required ' +
  'patternProperties additionalProperties minProperties maxProperties propertyNames items prefixItems minItems maxItems ' +
  'uniqueItems'
).split(' ');

const enums = new WeakMap<SchemaPart['schema'], ReadonlyMap<string, unknown>>();

/** The values of a part's `enum` and `const`, by a text that is the same for equal values. */
export function enumOf(part: SchemaPart): ReadonlyMap<string, unknown> | undefined {
  const known = enums.get(part.schema);
  if (known) return known;
  const listed = listAt(part, 'enum');
  const only = valueOf(part.schema, 'const');
  if (!listed && only === undefined) return undefined;
  let values = new Map((listed ?? [only]).map((value) => [canonical(value), value]));
  if (only !== undefined) values = values.has(canonical(only)) ? new Map([[canonical(only), only]]) : new Map();
  enums.set(part.schema, values);
  return values;
}

/** The same text for equal values. */
function canonical(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(canonical).join()}]`;
  if (!isObject(value)) return JSON.stringify(value);
  const members = Object.keys(value)
    .sort()
    .map((key) => `${JSON.stringify(key)}:${canonical(value[key])}`);
  return `{${members.join()}}`;
}

export function isOfType(value: unknown, type: string): boolean {
  if (type === 'null') return value === null;
  if (type === 'array') return Array.isArray(value);
  if (type === 'object') return isObject(value);
  if (type === 'integer') return Number.isInteger(value);
  return typeof value === type;
}

/** The values that all enums and consts allow, by their texts; undefined if there is none of them. */
export function commonValues(
  compiler: SchemaContext,
  parts: readonly SchemaPart[],
): ReadonlyMap<string, unknown> | undefined {
  const enumsOfParts = parts.flatMap((part) => enumOf(part) ?? []);
  const [smallest] = enumsOfParts.toSorted((a, b) => a.size - b.size);
  if (!smallest || enumsOfParts.length === 1) return smallest;
  compiler.spend(smallest.size * enumsOfParts.length);
  return new Map([...smallest].filter(([key]) => enumsOfParts.every((other) => other.has(key))));
}

/** Refuses what else is said about values that are listed. */
export function refuseOtherConstraints(parts: readonly SchemaPart[]): void {
  for (const { schema, place } of parts)
    for (const keyword of CONSTRAINTS)
      if (Object.hasOwn(schema, keyword)) throw refused(keyword, place, 'leave it out beside const and enum');
}

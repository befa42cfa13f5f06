import { unsupported } from '../grammar-error.ts';
import { type SchemaPart, valueOf } from './schema-reader.ts';

const TYPES = ['object', 'array', 'string', 'number', 'integer', 'boolean', 'null'] as const;

/** The types that keywords are about: a schema that has one without a type is taken to mean it. */
const TYPE_OF_KEYWORD: Readonly<Record<string, string>> = {
  ...Object.fromEntries(
    ['properties', 'required', 'additionalProperties', 'patternProperties', 'minProperties', 'maxProperties'].map(
      (keyword) => [keyword, 'object'],
    ),
  ),
  propertyNames: 'object',
  ...Object.fromEntries(
    ['items', 'prefixItems', 'minItems', 'maxItems', 'uniqueItems'].map((keyword) => [keyword, 'array']),
  ),
  ...Object.fromEntries(['minLength', 'maxLength', 'pattern', 'format'].map((keyword) => [keyword, 'string'])),
  ...Object.fromEntries(
    ['minimum', 'maximum', 'exclusiveMinimum', 'exclusiveMaximum', 'multipleOf'].map((keyword) => [keyword, 'number']),
  ),
};

/** The types that a value may have which fits all parts. */
export function typesOf(parts: readonly SchemaPart[]): string[] {
  let types: string[] | undefined;
  for (const part of parts) {
    const own = ownTypes(part);
    if (!own) continue;
    types = types ? commonTypes(types, own) : own;
  }
  if (types) return types;
  const meant = new Set(
    parts.flatMap(({ schema }) =>
      Object.keys(schema).flatMap((keyword) =>
        Object.hasOwn(TYPE_OF_KEYWORD, keyword) ? [TYPE_OF_KEYWORD[keyword]!] : [],
      ),
    ),
  );
  return meant.size > 0 ? [...meant] : TYPES.filter((type) => type !== 'integer');
}

function ownTypes({ schema, place }: SchemaPart): string[] | undefined {
  const value = valueOf(schema, 'type');
  if (value === undefined) return undefined;
  const listed = Array.isArray(value) ? (value as unknown[]) : [value];
  if (listed.length > TYPES.length) throw unsupported(`“type” at ${place} lists more types than there are`);
  for (const type of listed)
    if (!TYPES.includes(type as (typeof TYPES)[number]))
      throw unsupported(`“type” at ${place} must be one of ${TYPES.join(', ')}, or a list of them`);
  const types = [...new Set(listed as string[])];
  // OpenAPI's.
  if (schema['nullable'] === true && !types.includes('null')) types.push('null');
  return types.includes('number') ? types.filter((type) => type !== 'integer') : types;
}

function commonTypes(a: readonly string[], b: readonly string[]): string[] {
  return [
    ...a.filter((type) => b.includes(type) || (type === 'integer' && b.includes('number'))),
    ...b.filter((type) => type === 'integer' && a.includes('number')),
  ];
}

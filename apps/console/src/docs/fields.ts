import type { ApiDocument, Schema } from './document.ts';

/** A field of a request or an answer. */
export interface FieldRow {
  /** With the names of what it is in: `choices[].text`. */
  name: string;
  type: string;
  required: boolean;
  description: string;
}

type Schemas = ApiDocument['schemas'];

/** Deeper fields are said to be objects, and no more. */
const MAX_DEPTH = 3;
/** JSON's largest whole numbers, which zod writes as limits, say nothing. */
const LARGE = 2 ** 31 - 1;
const MAX_VALUES = 12;

/** The fields of an object, and of objects and lists within it. */
export function fieldsOf(schema: Schema, schemas: Schemas, prefix = '', depth = 0): FieldRow[] {
  const whole = resolved(schema, schemas);
  const rows = Object.entries(whole.properties ?? {}).flatMap(([key, field]) => {
    const name = prefix + key;
    const row = {
      name,
      type: typeOf(field, schemas),
      required: whole.required?.includes(key) ?? false,
      description: field.description ?? '',
    };
    return [row, ...within(field, schemas, name, depth + 1)];
  });
  const variants = [...(whole.anyOf ?? []), ...(whole.oneOf ?? []), ...(whole.allOf ?? [])];
  // Variants of an object have fields of the same names.
  return unique([...rows, ...variants.flatMap((one) => fieldsOf(one, schemas, prefix, depth))]);
}

/** The fields within a field: an object's, a list's, or those of its variants. */
function within(schema: Schema, schemas: Schemas, name: string, depth: number): FieldRow[] {
  if (depth >= MAX_DEPTH) return [];
  const whole = resolved(schema, schemas);
  const variants = [...(whole.anyOf ?? []), ...(whole.oneOf ?? []), ...(whole.allOf ?? [])];
  return unique([
    ...(whole.properties ? fieldsOf({ ...whole, anyOf: [], oneOf: [], allOf: [] }, schemas, `${name}.`, depth) : []),
    ...(whole.items ? within(whole.items, schemas, `${name}[]`, depth) : []),
    ...variants.flatMap((one) => within(one, schemas, name, depth)),
  ]);
}

function unique(rows: readonly FieldRow[]): FieldRow[] {
  const seen = new Set<string>();
  return rows.filter(({ name }) => !seen.has(name) && seen.add(name));
}

function resolved(schema: Schema, schemas: Schemas): Schema {
  const name = schema.$ref?.split('/').at(-1);
  return name === undefined ? schema : (schemas[name] ?? {});
}

/** A schema in words: `number, 0 to 2`; `"low" or "high"`; `list of text`. */
export function typeOf(schema: Schema, schemas: Schemas): string {
  const whole = resolved(schema, schemas);
  const variants = [...(whole.anyOf ?? []), ...(whole.oneOf ?? [])];
  if (variants.length > 0) {
    const names = variants.map((one) => typeOf(one, schemas)).filter((name) => name !== 'null');
    return [...new Set(names)].join(' or ') || 'null';
  }
  if (whole.const !== undefined) return JSON.stringify(whole.const);
  if (whole.enum) return valuesOf(whole.enum);
  const types = [whole.type ?? (whole.properties ? 'object' : 'anything')].flat().filter((type) => type !== 'null');
  if (types.length === 0) return 'null';
  const names = types.map((type) => (type === 'array' ? listOf(whole, schemas) : (WORDS[type] ?? type)));
  return [names.join(' or '), ...limitsOf(whole)].join(', ');
}

const WORDS: Readonly<Record<string, string>> = { string: 'text', integer: 'whole number', boolean: 'true or false' };

function listOf({ items }: Schema, schemas: Schemas): string {
  const what = items ? typeOf(items, schemas) : 'anything';
  return what.includes(' or ') ? `list of (${what})` : `list of ${what}`;
}

function valuesOf(values: readonly unknown[]): string {
  const shown = values.slice(0, MAX_VALUES).map((value) => JSON.stringify(value));
  return shown.join(' or ') + (values.length > MAX_VALUES ? ' …' : '');
}

function limitsOf({ minimum, maximum, exclusiveMinimum, maxLength, maxItems, default: usual }: Schema): string[] {
  const low = minimum !== undefined && minimum > -LARGE ? minimum : undefined;
  const high = maximum !== undefined && maximum < LARGE ? maximum : undefined;
  const range = [
    low !== undefined && high !== undefined && `${low} to ${high}`,
    low !== undefined && high === undefined && `${low} or more`,
    exclusiveMinimum !== undefined && exclusiveMinimum > -LARGE && `above ${exclusiveMinimum}`,
    low === undefined && high !== undefined && `at most ${high}`,
    maxLength !== undefined && `at most ${maxLength} characters`,
    maxItems !== undefined && `at most ${maxItems} of them`,
    usual !== undefined && `default ${JSON.stringify(usual)}`,
  ];
  return range.filter((part) => part !== false);
}

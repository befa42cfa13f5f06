import { commonValues, isOfType } from './enum-values.ts';
import { mapAt, type SchemaContext, type SchemaPart, subschema, textsAt } from './schema-reader.ts';
import { typesOf } from './schema-types.ts';

/** A set, or a map by its keys. */
type Keys = Pick<ReadonlySet<string>, 'size' | 'has'> & { keys(): Iterable<string> };

/** How deep properties are compared. */
const MAX_DEPTH = 4;

/** What is compared of a set of schemas, so that it is read only once. */
export interface Facts {
  readonly parts: readonly SchemaPart[];
  readonly values: ReadonlyMap<string, unknown> | undefined;
  /** The types that values may have, without a difference between numbers. */
  readonly types: ReadonlySet<string>;
  readonly required: ReadonlySet<string>;
}

export function factsOf(compiler: SchemaContext, parts: readonly SchemaPart[]): Facts {
  for (const { schema } of parts) compiler.spend(1 + Object.keys(schema).length);
  const values = commonValues(compiler, parts);
  const all = typesOf(parts).map((type) => (type === 'integer' ? 'number' : type));
  const types = all.filter((type) => !values || [...values.values()].some((value) => isOfType(value, type)));
  const required = parts.flatMap((part) => textsAt(part, 'required'));
  compiler.spend(required.length + all.length * (values?.size ?? 0));
  return { parts, values, types: new Set(types), required: new Set(required) };
}

/**
 * Whether no value that is written for one of the sets can fit the other; false if that is not plain to see. What is written has
 * no properties beyond those that are listed.
 */
export function areDisjoint(compiler: SchemaContext, a: Facts, b: Facts, depth = 0): boolean {
  if (a.values && b.values) return common(compiler, a.values, b.values).length === 0;
  const shared = [...a.types].filter((type) => b.types.has(type));
  if (shared.length === 0) return true;
  if (shared.some((type) => type !== 'object') || depth >= MAX_DEPTH) return false;
  return common(compiler, a.required, b.required).some((name) => {
    compiler.spend(a.parts.length + b.parts.length);
    const [ofA, ofB] = [a, b].map(({ parts }) => compiler.flatten(schemasOf(parts, name)));
    return !ofA || !ofB || areDisjoint(compiler, factsOf(compiler, ofA), factsOf(compiler, ofB), depth + 1);
  });
}

function common(compiler: SchemaContext, a: Keys, b: Keys): string[] {
  const [fewer, more] = a.size < b.size ? [a, b] : [b, a];
  compiler.spend(fewer.size);
  return [...fewer.keys()].filter((key) => more.has(key));
}

const schemasOf = (parts: readonly SchemaPart[], name: string) =>
  parts.flatMap((part) => {
    const properties = mapAt(part, 'properties');
    return Object.hasOwn(properties, name) ? [subschema(properties[name], `${part.place}/properties/${name}`)] : [];
  });

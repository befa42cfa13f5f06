import { commonValues, isOfType } from './enum-values.ts';
import { mapAt, type SchemaContext, type SchemaPart, subschema, textsAt } from './schema-reader.ts';
import { typesOf } from './schema-types.ts';

/** How deep properties are compared. */
const MAX_DEPTH = 4;

/**
 * Whether no value that is written for one of the sets can fit the other; false if that is not plain to see. What is written has
 * no properties beyond those that are listed.
 */
export function areDisjoint(
  compiler: SchemaContext,
  a: readonly SchemaPart[],
  b: readonly SchemaPart[],
  depth = 0,
): boolean {
  const [valuesOfA, valuesOfB] = [commonValues(a), commonValues(b)];
  if (valuesOfA && valuesOfB) return ![...valuesOfA.keys()].some((value) => valuesOfB.has(value));
  const [typesOfA, typesOfB] = [kindsOf(a, valuesOfA), kindsOf(b, valuesOfB)];
  const shared = typesOfA.filter((type) => typesOfB.includes(type));
  if (shared.length === 0) return true;
  if (shared.some((type) => type !== 'object') || depth >= MAX_DEPTH) return false;
  const requiredOfB = requiredOf(b);
  const required = [...requiredOf(a)].filter((name) => requiredOfB.has(name));
  compiler.spend(requiredOfB.size + required.length);
  return required.some((name) => {
    const [ofA, ofB] = [compiler.flatten(schemasOf(a, name)), compiler.flatten(schemasOf(b, name))];
    return !ofA || !ofB || areDisjoint(compiler, ofA, ofB, depth + 1);
  });
}

/** The types that values may have, without a difference between numbers. */
function kindsOf(parts: readonly SchemaPart[], values: ReadonlyMap<string, unknown> | undefined): string[] {
  const types = typesOf(parts).map((type) => (type === 'integer' ? 'number' : type));
  if (!values) return types;
  return types.filter((type) => [...values.values()].some((value) => isOfType(value, type)));
}

const requiredOf = (parts: readonly SchemaPart[]): Set<string> =>
  new Set(parts.flatMap((part) => textsAt(part, 'required')));

const schemasOf = (parts: readonly SchemaPart[], name: string) =>
  parts.flatMap((part) => {
    const properties = mapAt(part, 'properties');
    return Object.hasOwn(properties, name) ? [subschema(properties[name], `${part.place}/properties/${name}`)] : [];
  });

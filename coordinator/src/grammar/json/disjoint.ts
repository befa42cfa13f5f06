import { enumOf, type SchemaCompiler } from './schema-compiler.ts';
import { mapAt, type SchemaPart, subschema, textsAt } from './schema-reader.ts';
import { typesOf } from './schema-types.ts';

/** How deep properties are compared. */
const MAX_DEPTH = 4;

/**
 * Whether no value that is written for one of the sets can fit the other; false if that is not plain to see. What is written has
 * no properties beyond those that are listed.
 */
export function areDisjoint(
  compiler: SchemaCompiler,
  a: readonly SchemaPart[],
  b: readonly SchemaPart[],
  depth = 0,
): boolean {
  const [valuesOfA, valuesOfB] = [valuesOf(a), valuesOf(b)];
  if (valuesOfA && valuesOfB) return ![...valuesOfA].some((value) => valuesOfB.has(value));
  const [typesOfA, typesOfB] = [typesOf(a), typesOf(b)];
  const shared = typesOfA.filter((type) => typesOfB.some((other) => sameType(type) === sameType(other)));
  if (shared.length === 0) return true;
  if (shared.length > 1 || shared[0] !== 'object' || depth >= MAX_DEPTH) return false;
  const requiredOfB = requiredOf(b);
  const required = [...requiredOf(a)].filter((name) => requiredOfB.has(name));
  compiler.spend(requiredOfB.size + required.length);
  return required.some((name) => {
    const [ofA, ofB] = [compiler.flatten(schemasOf(a, name)), compiler.flatten(schemasOf(b, name))];
    return !ofA || !ofB || areDisjoint(compiler, ofA, ofB, depth + 1);
  });
}

const sameType = (type: string): string => (type === 'integer' ? 'number' : type);

function valuesOf(parts: readonly SchemaPart[]): Set<string> | undefined {
  const [first, ...others] = parts.flatMap((part) => enumOf(part) ?? []);
  return first && new Set([...first.keys()].filter((value) => others.every((other) => other.has(value))));
}

const requiredOf = (parts: readonly SchemaPart[]): Set<string> =>
  new Set(parts.flatMap((part) => textsAt(part, 'required')));

const schemasOf = (parts: readonly SchemaPart[], name: string) =>
  parts.flatMap((part) => {
    const properties = mapAt(part, 'properties');
    return Object.hasOwn(properties, name) ? [subschema(properties[name], `${part.place}/properties/${name}`)] : [];
  });

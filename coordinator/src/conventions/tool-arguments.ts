import { GrammarError } from '../grammar/grammar-error.ts';
import type { JsonSchema } from '../grammar/grammar-source.ts';
import { sourceBytes } from '../grammar/source-size.ts';
import type { Tool } from './output-parser.ts';

type Schema = Readonly<Record<string, unknown>>;

/** Arguments that are written one by one: what each may be, in the schema's order, and which may not be left out. */
export interface ArgumentList {
  properties: ReadonlyMap<string, JsonSchema>;
  required: ReadonlySet<string>;
}

const NO_ARGUMENTS: JsonSchema = { type: 'object', properties: {}, additionalProperties: false };

/** The schema of a tool's arguments: an object, also where the tool's own schema leaves that out. */
export function argumentsSchema({ parameters = {} }: Tool): JsonSchema {
  if (Object.keys(parameters).length === 0) return NO_ARGUMENTS;
  // A type that excludes objects was refused before.
  return { ...parameters, type: 'object' };
}

/** A part of a tool's schema that still finds what its references point to. */
export function withDefinitions(schema: JsonSchema, { parameters = {} }: Tool): JsonSchema {
  let whole = wholes.get(parameters);
  if (whole === undefined) {
    // What is too deep is refused when it is compiled.
    const hasReferences = sourceBytes(parameters, Infinity) < Infinity && hasReference(parameters);
    whole = hasReferences ? moved(parameters) : NO_REFERENCES;
    wholes.set(parameters, whole);
  }
  if (whole === NO_REFERENCES || !isObject(schema) || !hasReference(schema)) return schema;
  return { ...moved(schema), $defs: { [WHOLE]: whole } };
}

const NO_REFERENCES: Schema = {};
/** The schemas of tools, with their references as they are where the schema is a definition. */
const wholes = new WeakMap<object, Schema>();
const WHOLE = 'parameters';

const hasReference = (schema: Schema): boolean => JSON.stringify(schema).includes('"$ref"');

function moved(schema: Schema): Schema {
  const move = (key: string, value: unknown): unknown =>
    key === '$ref' && typeof value === 'string' && value.startsWith('#') ? `#/$defs/${WHOLE}${value.slice(1)}` : value;
  return JSON.parse(JSON.stringify(schema, move)) as Schema;
}

/** References and alternatives in each other. */
const MAX_DEPTH = 8;
const MAX_LISTS = 64;
/** What a list cannot keep to. */
const REFUSED = (
  'not if then else dependentRequired dependentSchemas dependencies minProperties maxProperties propertyNames ' +
  '$dynamicRef $recursiveRef'
).split(' ');

/** The lists of arguments that a tool's schema allows. Throws a GrammarError that names the keyword for what none can be made of. */
export function argumentLists({ parameters = {} }: Tool): readonly ArgumentList[] {
  return new Lists(parameters).of(parameters, MAX_DEPTH);
}

class Lists {
  readonly #root: Schema;

  constructor(root: Schema) {
    this.#root = root;
  }

  of(schema: unknown, depth: number): readonly ArgumentList[] {
    if (schema === false) return [];
    if (!isObject(schema)) return [{ properties: new Map(), required: new Set() }];
    const refused = REFUSED.find((keyword) => Object.hasOwn(schema, keyword));
    if (refused !== undefined) throw unsupported(refused, 'leave it out');
    let lists: readonly ArgumentList[] = [ownList(schema)];
    for (const [keyword, options] of this.#combined(schema)) {
      if (depth === 0) throw unsupported(keyword, `nest it at most ${MAX_DEPTH} deep`);
      const others = options.flatMap((option) => this.of(option, depth - 1));
      if (lists.length * others.length > MAX_LISTS)
        throw unsupported(keyword, `give at most ${MAX_LISTS} alternatives`);
      lists = lists.flatMap((list) => others.map((other) => merged(list, other)));
    }
    return lists;
  }

  /** What applies besides the schema's own keywords: of each entry one option does. */
  #combined(schema: Schema): [keyword: string, options: readonly unknown[]][] {
    const { $ref, allOf, anyOf, oneOf } = schema;
    const target = typeof $ref === 'string' ? resolve($ref, this.#root) : undefined;
    if ($ref !== undefined && target === undefined) throw unsupported('$ref', 'refer to a place in the same schema');
    return [
      ...(target === undefined ? [] : [['$ref', [target]] as [string, unknown[]]]),
      ...listOf(allOf).map((option): [string, unknown[]] => ['allOf', [option]]),
      ...(anyOf === undefined ? [] : [['anyOf', listOf(anyOf)] as [string, unknown[]]]),
      ...(oneOf === undefined ? [] : [['oneOf', listOf(oneOf)] as [string, unknown[]]]),
    ];
  }
}

function ownList({ properties, required }: Schema): ArgumentList {
  const entries = isObject(properties) ? Object.entries(properties) : [];
  const needed = listOf(required).filter((name) => typeof name === 'string');
  return {
    properties: new Map([
      ...entries.map(([name, own]) => [name, own as JsonSchema] as const),
      ...needed.filter((name) => !entries.some(([known]) => known === name)).map((name) => [name, true] as const),
    ]),
    required: new Set(needed),
  };
}

function merged(a: ArgumentList, b: ArgumentList): ArgumentList {
  const properties = new Map(a.properties);
  for (const [name, own] of b.properties) {
    const other = properties.get(name);
    properties.set(name, other === undefined || other === true ? own : own === true ? other : { allOf: [other, own] });
  }
  return { properties, required: new Set([...a.required, ...b.required]) };
}

/** The schemas of an argument in all parts of a tool's schema. */
export function schemasOfArgument({ parameters = {} }: Tool, name: string): unknown[] {
  const found: unknown[] = [];
  const seen = new Set<unknown>();
  const open: unknown[] = [parameters];
  for (let schema = open.pop(); schema !== undefined; schema = open.pop()) {
    if (!isObject(schema) || seen.has(schema)) continue;
    seen.add(schema);
    const { properties, $ref, allOf, anyOf, oneOf } = schema;
    if (isObject(properties) && Object.hasOwn(properties, name)) found.push(properties[name]);
    open.push(...listOf(allOf), ...listOf(anyOf), ...listOf(oneOf));
    if (typeof $ref === 'string') open.push(resolve($ref, parameters));
  }
  return found;
}

/** What a `$ref` inside a tool's own schema points to. */
export function resolve(ref: string, root: Schema): unknown {
  if (ref === '#') return root;
  if (!ref.startsWith('#/')) return undefined;
  let at: unknown = root;
  for (const part of ref.slice(2).split('/')) {
    const key = decoded(part).replaceAll('~1', '/').replaceAll('~0', '~');
    at = typeof at === 'object' && at !== null && Object.hasOwn(at, key) ? (at as Schema)[key] : undefined;
  }
  return at;
}

function decoded(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

const listOf = (value: unknown): readonly unknown[] => (Array.isArray(value) ? (value as unknown[]) : []);

export function isObject(value: unknown): value is Schema {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

const unsupported = (keyword: string, remedy: string): GrammarError =>
  new GrammarError('unsupported', `JSON schema: “${keyword}” of a function’s parameters is not supported; ${remedy}`);

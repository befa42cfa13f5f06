import { call, choice, type Expression, JSON_WORDS, NEVER, type Rule, text } from '../expression.ts';
import { unsupported, WorkBudget } from '../grammar-error.ts';
import type { JsonSchema } from '../grammar-source.ts';
import { arrayExpression } from './array-schema.ts';
import { areDisjoint } from './disjoint.ts';
import { JSON_VALUE } from './json-values.ts';
import { numberExpression } from './number-schema.ts';
import { objectExpression } from './object-schema.ts';
import {
  checkKeywords,
  isObject,
  listAt,
  refused,
  resolve,
  type SchemaPart,
  type Subschema,
  subschemasAt,
  textAt,
  valueOf,
} from './schema-reader.ts';
import { stringExpression } from './string-schema.ts';
import { typesOf } from './schema-types.ts';

/** Sets of schemas that a value has to fit; each becomes a rule. */
const MAX_SETS = 5_000;
/** Steps of about a microsecond, each of a keyword or a few characters, over all sets. */
const MAX_WORK = 300_000;
/** What comparing two options of `oneOf` counts as. */
const PAIR_WORK = 40;

/** Turns the schemas of values into expressions of their JSON. Throws a GrammarError for what cannot be kept to. */
export class SchemaCompiler {
  readonly #root: JsonSchema;
  readonly #ids = new Map<SchemaPart['schema'], number>();
  /** By the schemas that all apply. */
  readonly #rules = new Map<string, Rule>();
  readonly #sets = new WorkBudget(MAX_SETS, 'combinations of schemas');
  readonly #work = new WorkBudget(MAX_WORK, 'steps to read its combinations of schemas');
  /** Rules whose bodies are still to be made, so that deep schemas need no deep stack. */
  readonly #open: { rule: Rule; parts: SchemaPart[] }[] = [];

  constructor(root: JsonSchema) {
    this.#root = root;
  }

  /** Counts work that is done again for each set. */
  spend(steps: number): void {
    this.#work.spend(steps);
  }

  compile(): Expression {
    const expression = this.expressionOf([{ schema: this.#root, place: '#' }]);
    for (let next = this.#open.pop(); next; next = this.#open.pop()) next.rule.body = this.#body(next.parts);
    return expression;
  }

  /** Values that fit all of some schemas. */
  expressionOf(schemas: readonly Subschema[]): Expression {
    const parts = this.flatten(schemas);
    return parts ? this.#ruleOf(parts) : NEVER;
  }

  /** With what `$ref` and `allOf` add; undefined if one of them is false. */
  flatten(schemas: readonly Subschema[], known: readonly SchemaPart[] = []): SchemaPart[] | undefined {
    const parts = [...known];
    const seen = new Set(parts.map(({ schema }) => schema));
    const open = [...schemas].reverse();
    for (let next = open.pop(); next; next = open.pop()) {
      const { schema, place } = next;
      if (schema === false) return undefined;
      if (schema === true) continue;
      if (known.some((part) => part.schema === schema && part.chosen.length > 0))
        throw refused(
          '$ref',
          place,
          'it refers to what it is an option of, so that it says nothing; leave that option out',
        );
      if (seen.has(schema)) continue;
      this.#work.spend();
      seen.add(schema);
      const part = { schema, place, chosen: [] };
      checkKeywords(part);
      parts.push(part);
      open.push(...(subschemasAt(part, 'allOf') ?? []).reverse());
      const ref = textAt(part, '$ref');
      if (ref !== undefined) open.push(resolve(this.#root, ref, place));
    }
    return parts;
  }

  #ruleOf(parts: SchemaPart[]): Expression {
    const key = parts
      .map(({ schema, chosen }) => `${this.#idOf(schema)}${chosen.join('')}`)
      .sort()
      .join();
    if (key === '') return JSON_VALUE;
    let rule = this.#rules.get(key);
    if (!rule) {
      this.#sets.spend();
      rule = { name: parts[0]!.place };
      this.#rules.set(key, rule);
      this.#open.push({ rule, parts });
    }
    return call(rule);
  }

  #idOf(schema: SchemaPart['schema']): number {
    const id = this.#ids.get(schema) ?? this.#ids.size;
    this.#ids.set(schema, id);
    return id;
  }

  #body(parts: SchemaPart[]): Expression {
    for (const { schema } of parts) this.#work.spend(Object.keys(schema).length);
    for (const keyword of ['anyOf', 'oneOf'])
      for (const part of parts) {
        const options = part.chosen.includes(keyword) ? undefined : subschemasAt(part, keyword);
        if (options) return this.#oneOfOptions(parts, part, keyword, options);
      }
    const values = this.#valuesOf(parts);
    const types = typesOf(parts);
    if (values) {
      const fitting = values.filter((value) => types.some((type) => isOfType(value, type)));
      return choice(...fitting.map((value) => text(JSON.stringify(value))));
    }
    return choice(...types.map((type) => this.#ofType(type, parts)));
  }

  #oneOfOptions(parts: SchemaPart[], part: SchemaPart, keyword: string, options: Subschema[]): Expression {
    const chosen = { ...part, chosen: [...part.chosen, keyword] };
    const rest = parts.map((other) => (other === part ? chosen : other));
    const sets = options.map((option) => this.flatten([option], rest));
    if (keyword === 'oneOf') this.#checkDisjoint(sets, part);
    return choice(...sets.map((set) => (set ? this.#ruleOf(set) : NEVER)));
  }

  #checkDisjoint(sets: (SchemaPart[] | undefined)[], { place }: SchemaPart): void {
    this.#work.spend(sets.length);
    const possible = sets.filter((set) => set !== undefined);
    for (const [index, set] of possible.entries())
      for (const other of possible.slice(index + 1)) {
        this.#work.spend(PAIR_WORK + set.length + other.length);
        if (areDisjoint(this, set, other)) continue;
        throw refused('oneOf', place, 'use anyOf, or give each option a required property with a const of its own');
      }
  }

  /** The values that all enums and consts allow; undefined if there is none of them. */
  #valuesOf(parts: readonly SchemaPart[]): unknown[] | undefined {
    let allowed: ReadonlyMap<string, unknown> | undefined;
    for (const part of parts) {
      const own = enumOf(part);
      if (!own) continue;
      this.#work.spend(own.size);
      allowed = allowed ? new Map([...allowed].filter(([key]) => own.has(key))) : own;
    }
    if (!allowed) return undefined;
    for (const { schema, place } of parts)
      for (const keyword of Object.keys(schema))
        if (CONSTRAINTS.has(keyword)) throw refused(keyword, place, 'leave it out beside const and enum');
    return [...allowed.values()];
  }

  #ofType(type: string, parts: SchemaPart[]): Expression {
    switch (type) {
      case 'object':
        return objectExpression(this, parts);
      case 'array':
        return arrayExpression(this, parts);
      case 'string':
        return stringExpression(this, parts);
      case 'integer':
      case 'number':
        return numberExpression(parts, type);
      case 'boolean':
        return choice(...JSON_WORDS.boolean);
      default:
        return JSON_WORDS.null;
    }
  }
}

/** What says more about values than an enum does. */
const CONSTRAINTS = new Set([
  ...['minimum', 'maximum', 'exclusiveMinimum', 'exclusiveMaximum', 'multipleOf', 'minLength', 'maxLength', 'pattern'],
  ...['properties', 'required', 'patternProperties', 'additionalProperties', 'minProperties', 'maxProperties'],
  ...['propertyNames', 'items', 'prefixItems', 'minItems', 'maxItems', 'uniqueItems'],
]);

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

/** The expression of a whole schema. */
export function schemaExpression(schema: JsonSchema): Expression {
  if (schema !== true && schema !== false && !isObject(schema))
    throw unsupported('the schema at # must be an object, true or false');
  return new SchemaCompiler(schema).compile();
}

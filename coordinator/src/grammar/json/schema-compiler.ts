import { call, choice, type Expression, JSON_WORDS, NEVER, type Rule, text } from '../expression.ts';
import { unsupported, WorkBudget } from '../grammar-error.ts';
import type { JsonSchema } from '../grammar-source.ts';
import { arrayExpression } from './array-schema.ts';
import { areDisjoint, factsOf } from './disjoint.ts';
import { commonValues, isOfType, refuseOtherConstraints } from './enum-values.ts';
import { JSON_VALUE } from './json-values.ts';
import { numberExpression } from './number-schema.ts';
import { objectExpression } from './object-schema.ts';
import {
  checkKeywords,
  isObject,
  refused,
  resolve,
  type SchemaContext,
  type SchemaPart,
  type Subschema,
  subschemasAt,
  textAt,
} from './schema-reader.ts';
import { workOfSource } from './source-work.ts';
import { stringExpression } from './string-schema.ts';
import { typesOf } from './schema-types.ts';

/** Sets of schemas that a value has to fit; each becomes a rule. */
const MAX_SETS = 5_000;
/** What a set counts as, besides reading its schemas. */
const SET_STEPS = 16;
/** What comparing two options of `oneOf` counts as, besides what is compared. */
const COMPARISON_STEPS = 8;

/** Of a set's values. */
interface Alternatives {
  sets?: (SchemaPart[] | undefined)[];
  values?: unknown[];
  types?: string[];
}

/** How strings are written. */
export interface StringSpelling {
  value(value: string): Expression;
  /** Those that fit all parts. */
  anyOf(compiler: SchemaContext, parts: readonly SchemaPart[]): Expression;
}

/** Turns the schemas of values into expressions of their JSON. Throws a GrammarError for what cannot be kept to. */
export class SchemaCompiler implements SchemaContext {
  readonly #root: JsonSchema;
  readonly #ids = new Map<SchemaPart['schema'], number>();
  /** By the schemas that all apply. */
  readonly #rules = new Map<string, Rule>();
  readonly #sets = new WorkBudget(MAX_SETS, 'combinations of schemas');
  readonly #work = workOfSource();
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
    this.#finish();
    return expression;
  }

  /** Values that are strings, written as `spelling` says, and the JSON of all others. */
  compileApart(spelling: StringSpelling): { strings: Expression[]; others: Expression[] } {
    const apart = { strings: [] as Expression[], others: [] as Expression[] };
    const open = [this.flatten([{ schema: this.#root, place: '#' }])];
    for (let parts = open.pop(); open.length > 0 || parts; parts = open.pop()) {
      if (!parts) continue;
      this.#sets.spend();
      const { sets = [], values = [], types = [] } = this.#alternatives(parts);
      open.push(...sets.toReversed());
      for (const value of values)
        if (typeof value === 'string') apart.strings.push(spelling.value(value));
        else apart.others.push(this.#textOf(value));
      for (const type of types)
        if (type === 'string') apart.strings.push(spelling.anyOf(this, parts));
        else apart.others.push(this.#ofType(type, parts));
    }
    this.#finish();
    return apart;
  }

  #finish(): void {
    for (let next = this.#open.pop(); next; next = this.#open.pop()) next.rule.body = this.#body(next.parts);
  }

  /** Values that fit all of some schemas. */
  expressionOf(schemas: readonly Subschema[]): Expression {
    const parts = this.flatten(schemas);
    return parts ? this.#ruleOf(parts) : NEVER;
  }

  /** With what `$ref` and `allOf` add; undefined if one of them is false. */
  flatten(schemas: readonly Subschema[], known: readonly SchemaPart[] = []): SchemaPart[] | undefined {
    this.#work.spend(known.length);
    const parts = [...known];
    const seen = new Set(parts.map(({ schema }) => schema));
    const withOptions = new Set(known.filter(({ chosen }) => chosen.length > 0).map(({ schema }) => schema));
    const open = [...schemas].reverse();
    for (let next = open.pop(); next; next = open.pop()) {
      this.#work.spend();
      const { schema, place } = next;
      if (schema === false) return undefined;
      if (schema === true) continue;
      if (withOptions.has(schema))
        throw refused(
          '$ref',
          place,
          'it refers to what it is an option of, so that it says nothing; leave that option out',
        );
      if (seen.has(schema)) continue;
      seen.add(schema);
      const part = { schema, place, chosen: [] };
      checkKeywords(part);
      parts.push(part);
      for (const one of (subschemasAt(part, 'allOf') ?? []).reverse()) open.push(one);
      const ref = textAt(part, '$ref');
      if (ref === undefined) continue;
      this.#work.spend(ref.length / 8);
      open.push(resolve(this.#root, ref, place));
    }
    return parts;
  }

  #ruleOf(parts: SchemaPart[]): Expression {
    this.#work.spend(parts.length);
    const key = parts
      .map(({ schema, chosen }) => `${this.#idOf(schema)}${chosen.join('')}`)
      .sort()
      .join();
    if (key === '') return JSON_VALUE;
    let rule = this.#rules.get(key);
    if (!rule) {
      this.#sets.spend();
      this.#work.spend(SET_STEPS);
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
    const { sets, values = [], types = [] } = this.#alternatives(parts);
    if (sets) return choice(...sets.map((set) => (set ? this.#ruleOf(set) : NEVER)));
    return choice(...values.map((value) => this.#textOf(value)), ...types.map((type) => this.#ofType(type, parts)));
  }

  /** What values that fit all parts may be: what fits one of several sets, one of some values, or anything of some types. */
  #alternatives(parts: SchemaPart[]): Alternatives {
    for (const { schema } of parts) this.#work.spend(1 + Object.keys(schema).length);
    for (const keyword of ['anyOf', 'oneOf'])
      for (const part of parts) {
        const options = part.chosen.includes(keyword) ? undefined : subschemasAt(part, keyword);
        if (options) return { sets: this.#setsOfOptions(parts, part, keyword, options) };
      }
    const values = commonValues(this, parts);
    const types = typesOf(parts);
    if (!values) return { types };
    refuseOtherConstraints(parts);
    this.#work.spend(values.size);
    return { values: [...values.values()].filter((value) => types.some((type) => isOfType(value, type))) };
  }

  #textOf(value: unknown): Expression {
    const json = JSON.stringify(value);
    this.#work.spend(json.length / 16);
    return text(json);
  }

  #setsOfOptions(
    parts: SchemaPart[],
    part: SchemaPart,
    keyword: string,
    options: Subschema[],
  ): (SchemaPart[] | undefined)[] {
    const chosen = { ...part, chosen: [...part.chosen, keyword] };
    const rest = parts.map((other) => (other === part ? chosen : other));
    const sets = options.map((option) => this.flatten([option], rest));
    if (keyword === 'oneOf') this.#checkDisjoint(sets, part);
    return sets;
  }

  #checkDisjoint(sets: (SchemaPart[] | undefined)[], { place }: SchemaPart): void {
    this.#work.spend(sets.length);
    const possible = sets.flatMap((set) => (set ? factsOf(this, set) : []));
    for (const [index, facts] of possible.entries())
      for (const other of possible.slice(index + 1)) {
        this.#work.spend(COMPARISON_STEPS);
        if (areDisjoint(this, facts, other)) continue;
        throw refused('oneOf', place, 'use anyOf, or give each option a required property with a const of its own');
      }
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
        return numberExpression(this, parts, type);
      case 'boolean':
        return choice(...JSON_WORDS.boolean);
      default:
        return JSON_WORDS.null;
    }
  }
}

/** The expression of a whole schema. */
export function schemaExpression(schema: JsonSchema): Expression {
  return compilerOf(schema).compile();
}

export function compilerOf(schema: JsonSchema): SchemaCompiler {
  if (schema !== true && schema !== false && !isObject(schema))
    throw unsupported('the schema at # must be an object, true or false');
  return new SchemaCompiler(schema);
}

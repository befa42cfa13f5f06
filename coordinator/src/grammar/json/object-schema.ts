import { call, choice, EMPTY, type Expression, NEVER, optional, repeat, type Rule, sequence } from '../expression.ts';
import { unsupported, WorkBudget } from '../grammar-error.ts';
import { regexExpression } from '../regex.ts';
import { keyExcept } from './keys.ts';
import { jsonStyle } from './json-style.ts';
import { bracketed, COLON, COMMA, JSON_STRING, jsonText, quoted, SPACE } from './json-values.ts';
import {
  countAt,
  mapAt,
  refused,
  type SchemaContext,
  type SchemaPart,
  type Subschema,
  subschema,
  subschemaAt,
  textsAt,
} from './schema-reader.ts';

/** Listed properties times counts that are told apart. */
const MAX_STEPS = 4_096;

interface Property {
  member: Expression;
  isRequired: boolean;
}

/** An object's members in the order in which they are listed, then others where the schema asks for them. */
export function objectExpression(compiler: SchemaContext, parts: readonly SchemaPart[]): Expression {
  const required = new Set(parts.flatMap((part) => textsAt(part, 'required')));
  const listed = parts.flatMap((part) => Object.keys(mapAt(part, 'properties')));
  const names = [...new Set([...listed, ...required])];
  for (const name of names) compiler.spend(4 * parts.length + name.length / 16);
  const properties = names.map((name): Property => {
    const schemas = parts.flatMap((part) => schemasFor(part, name));
    const member = memberOf(quoted(jsonText(name)), compiler.expressionOf(schemas));
    return { member, isRequired: required.has(name) };
  });
  const other = otherMembers(compiler, parts, names);
  return bracketed('{', new Members(properties, other, parts).expression(), '}');
}

const memberOf = (key: Expression, value: Expression): Expression => sequence(key, COLON, value, SPACE);

/** What a part says about a property's value. */
function schemasFor(part: SchemaPart, name: string): Subschema[] {
  const properties = mapAt(part, 'properties');
  const own = Object.hasOwn(properties, name) ? [subschema(properties[name], `${part.place}/properties/${name}`)] : [];
  const patterns = Object.keys(mapAt(part, 'patternProperties'));
  if (patterns.length > 0)
    throw refused('patternProperties', part.place, 'leave it out beside properties and required');
  const others = subschemaAt(part, 'additionalProperties');
  return own.length > 0 || !others ? own : [others];
}

/** A member that is not listed; undefined if there may be none. */
function otherMembers(
  compiler: SchemaContext,
  parts: readonly SchemaPart[],
  names: readonly string[],
): Expression | undefined {
  const explicit = parts.flatMap((part) => subschemaAt(part, 'additionalProperties') ?? []);
  const unevaluated = parts.flatMap((part) => subschemaAt(part, 'unevaluatedProperties') ?? []);
  const partial = unevaluated.find(({ schema }) => typeof schema !== 'boolean');
  if (partial) throw refused('unevaluatedProperties', partial.place, 'use additionalProperties');
  const pattern = patternOf(compiler, parts, explicit);
  const nameSchemas = parts.flatMap((part) => subschemaAt(part, 'propertyNames') ?? []);
  if (nameSchemas.length > 0 && (names.length > 0 || pattern))
    throw refused('propertyNames', nameSchemas[0]!.place, 'leave it out beside properties');
  if (pattern) return memberOf(pattern.key, compiler.expressionOf([pattern.schema]));
  if (explicit.some(({ schema }) => schema === false)) return undefined;
  const isOpen = explicit.length > 0 || (names.length === 0 && !unevaluated.some(({ schema }) => schema === false));
  if (!isOpen) return undefined;
  const key =
    nameSchemas.length > 0
      ? compiler.expressionOf([{ schema: { type: 'string' }, place: '#' }, ...nameSchemas])
      : names.length > 0
        ? keyExcept(compiler, names)
        : JSON_STRING;
  return memberOf(key, compiler.expressionOf(explicit));
}

/** The one pattern of names, if there is one. */
function patternOf(
  compiler: SchemaContext,
  parts: readonly SchemaPart[],
  explicit: readonly Subschema[],
): { key: Expression; schema: Subschema } | undefined {
  const patterns = parts.flatMap((part) =>
    Object.entries(mapAt(part, 'patternProperties')).map(([pattern, value]) => ({ pattern, value, part })),
  );
  const [only, second] = patterns;
  if (!only) return undefined;
  const { pattern, value, part } = only;
  compiler.spend(4 * pattern.length);
  if (second || explicit.some(({ schema }) => schema !== false))
    throw refused('patternProperties', part.place, 'use one pattern, and additionalProperties: false');
  const schema = subschema(value, `${part.place}/patternProperties`);
  return { key: quoted(regexExpression(pattern, jsonStyle(compiler))), schema };
}

/** The members of an object, of which there may be few enough to be counted. */
class Members {
  readonly #properties: readonly Property[];
  readonly #other: Expression | undefined;
  readonly #least: number;
  readonly #most: number;
  readonly #isCounted: boolean;
  /** Counts from here on are the same. */
  readonly #cap: number;
  readonly #rules = new Map<string, Rule>();
  readonly #budget = new WorkBudget(
    MAX_STEPS,
    'properties of one object, times those that minProperties and maxProperties count',
  );
  readonly #place: string;

  constructor(properties: readonly Property[], other: Expression | undefined, parts: readonly SchemaPart[]) {
    this.#properties = properties;
    this.#other = other;
    this.#place = parts[0]?.place ?? '#';
    this.#least = Math.max(0, ...parts.map((part) => countAt(part, 'minProperties') ?? 0));
    this.#most = Math.min(Infinity, ...parts.map((part) => countAt(part, 'maxProperties') ?? Infinity));
    const required = properties.filter(({ isRequired }) => isRequired).length;
    this.#isCounted =
      this.#least > required || (this.#most < Infinity && (other !== undefined || this.#most < properties.length));
    this.#cap = this.#isCounted ? properties.length + 1 : 1;
  }

  expression(): Expression {
    for (let index = 0; index <= this.#properties.length; index++)
      for (let count = 0; count <= Math.min(index, this.#cap); count++) this.#fill(index, count);
    return call(this.#ruleAt(0, 0));
  }

  #fill(index: number, count: number): void {
    this.#budget.spend();
    const rule = this.#ruleAt(index, count);
    const property = this.#properties[index];
    if (!property) {
      rule.body = this.#others(count);
      return;
    }
    const taken = sequence(
      count > 0 ? COMMA : EMPTY,
      property.member,
      call(this.#ruleAt(index + 1, Math.min(count + 1, this.#cap))),
    );
    rule.body = property.isRequired ? taken : choice(taken, call(this.#ruleAt(index + 1, count)));
  }

  #ruleAt(index: number, count: number): Rule {
    const key = `${index} ${count}`;
    let rule = this.#rules.get(key);
    if (!rule) {
      rule = { name: `${this.#place} members ${key}` };
      this.#rules.set(key, rule);
    }
    return rule;
  }

  /** What is not listed, after so many members. */
  #others(count: number): Expression {
    const [least, most] = [Math.max(0, this.#least - count), this.#most - count];
    if (most < 0) return NEVER;
    if (!this.#other) return this.#isCounted && least > 0 ? NEVER : EMPTY;
    // Two of the same name would count as one.
    if (this.#isCounted && least > 1)
      throw unsupported(`“minProperties” at ${this.#place} is not supported; list the properties as required`);
    const more = sequence(COMMA, this.#other);
    if (most === 0) return EMPTY;
    const all = count > 0 ? repeat(more, 1, most) : sequence(this.#other, repeat(more, 0, most - 1));
    return least > 0 && this.#isCounted ? all : optional(all);
  }
}

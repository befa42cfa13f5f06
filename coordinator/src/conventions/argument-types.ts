import { AnswerInput } from './answer-input.ts';
import type { Tool } from './output-parser.ts';
import { readJson } from './read-json.ts';
import { isObject, resolve, schemasOfArgument } from './tool-arguments.ts';

/** The JSON types that a schema allows; undefined where it does not say. */
export type ArgumentTypes = ReadonlySet<string> | undefined;

type Schema = Readonly<Record<string, unknown>>;

const MAX_DEPTH = 8;
/** Schemas that are looked at for one argument: references may lead to the same ones again and again. */
const MAX_STEPS = 1_000;
/** Of a value that is marked as JSON and no text. */
export const JSON_TYPES: ArgumentTypes = new Set(['object', 'array', 'number', 'boolean', 'null']);

/** What a tool's schema says about one of its arguments. */
export function argumentTypes(tool: Tool | undefined, name: string): ArgumentTypes {
  const schemas = tool ? schemasOfArgument(tool, name) : [];
  const typing = new Typing(tool?.parameters ?? {});
  return union(schemas.map((schema) => typing.of(schema, MAX_DEPTH)));
}

class Typing {
  readonly #root: Schema;
  #steps = 0;

  constructor(root: Schema) {
    this.#root = root;
  }

  of(schema: unknown, depth: number): ArgumentTypes {
    if (!isObject(schema) || depth === 0 || ++this.#steps > MAX_STEPS) return undefined;
    const { allOf, $ref } = schema;
    const each = (parts: readonly unknown[]): ArgumentTypes[] => parts.map((part) => this.of(part, depth - 1));
    const options = ['anyOf', 'oneOf'].flatMap((keyword) => {
      const parts = schema[keyword];
      return Array.isArray(parts) ? [union(each(parts))] : [];
    });
    return intersection([
      ownTypes(schema),
      ...(typeof $ref === 'string' ? each([resolve($ref, this.#root)]) : []),
      ...(Array.isArray(allOf) ? each(allOf) : []),
      ...options,
    ]);
  }
}

function ownTypes({ type, nullable, enum: values, ...others }: Schema): ArgumentTypes {
  const listed = typeof type === 'string' ? [type] : Array.isArray(type) ? type.map(String) : undefined;
  // OpenAPI's.
  if (listed && nullable === true) listed.push('null');
  const valued = Array.isArray(values) ? values : 'const' in others ? [others['const']] : undefined;
  return intersection([listed && new Set(listed), valued && new Set(valued.map(typeOf))]);
}

/** What one of several says; nothing is known where one of them says nothing. */
function union(all: readonly ArgumentTypes[]): ArgumentTypes {
  const known = all.filter((types) => types !== undefined);
  if (known.length < all.length || all.length === 0) return undefined;
  return new Set(known.flatMap((types) => [...types]));
}

/** What all of several say that say something. */
function intersection(all: readonly ArgumentTypes[]): ArgumentTypes {
  return all.reduce<ArgumentTypes>((one, other) => {
    if (!one || !other) return one ?? other;
    return new Set([
      ...[...one].filter((type) => includes(other, type)),
      ...[...other].filter((type) => includes(one, type)),
    ]);
  }, undefined);
}

/** Whether types have this one; numbers have integers. */
const includes = (types: ReadonlySet<string>, type: string): boolean =>
  types.has(type) || (type === 'integer' && types.has('number'));

function typeOf(value: unknown): string {
  if (value === null) return 'null';
  return Array.isArray(value) ? 'array' : typeof value;
}

/** Whether a value of these types is a string whatever its text is. */
export const isAlwaysText = (types: ArgumentTypes): boolean => types?.size === 1 && types.has('string');

/** The JSON of an argument that a model wrote as plain text, by the schema's types; a string where it fits none of them. */
export function typedJson(text: string, types: ArgumentTypes): string {
  const json = jsonOf(text);
  const type = json === undefined ? undefined : typeOf(JSON.parse(json));
  if (type !== undefined && (type === 'string' ? mayUnquote(types) : allows(types, type))) return json!;
  return JSON.stringify(text);
}

/** A text as JSON, mended where it is in Python's form; undefined if it is neither. */
function jsonOf(text: string): string | undefined {
  const trimmed = text.trim();
  const parts: string[] = [];
  const input = new AnswerInput();
  input.push(trimmed, false);
  input.end();
  const { value } = readJson(input, (part) => parts.push(part)).next();
  return value === 'whole' && input.isDone ? parts.join('') : undefined;
}

/** A text that is itself a quoted string is one in JSON only where no string is expected as it stands. */
const mayUnquote = (types: ArgumentTypes): boolean => types !== undefined && !types.has('string');

function allows(types: ArgumentTypes, type: string): boolean {
  if (types === undefined) return true;
  // A null stands for an argument that is left out, except where a text may be meant.
  if (type === 'null' && !types.has('string')) return true;
  return types.has(type) || (type === 'integer' && types.has('number')) || (type === 'number' && types.has('integer'));
}

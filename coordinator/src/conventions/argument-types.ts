import { AnswerInput } from './answer-input.ts';
import type { Tool } from './output-parser.ts';
import { readJson } from './read-json.ts';

/** The JSON types that a schema allows; undefined where it does not say. */
export type ArgumentTypes = ReadonlySet<string> | undefined;

type Schema = Readonly<Record<string, unknown>>;

const MAX_DEPTH = 8;

/** What a tool's schema says about one of its arguments. */
export function argumentTypes(tool: Tool | undefined, name: string): ArgumentTypes {
  const properties = tool?.parameters?.['properties'];
  if (!isObject(properties) || !Object.hasOwn(properties, name)) return undefined;
  return typesOf(properties[name], tool!.parameters!, MAX_DEPTH);
}

function typesOf(schema: unknown, root: Schema, depth: number): ArgumentTypes {
  if (!isObject(schema) || depth === 0) return undefined;
  if (typeof schema['type'] === 'string') return new Set([schema['type']]);
  if (Array.isArray(schema['type'])) return new Set(schema['type'].map(String));
  if (Array.isArray(schema['enum'])) return new Set(schema['enum'].map(typeOf));
  if ('const' in schema) return new Set([typeOf(schema['const'])]);
  if (typeof schema['$ref'] === 'string') return typesOf(resolve(schema['$ref'], root), root, depth - 1);
  const parts = schema['anyOf'] ?? schema['oneOf'] ?? schema['allOf'];
  if (!Array.isArray(parts)) return undefined;
  const all = new Set<string>();
  for (const part of parts) {
    const types = typesOf(part, root, depth - 1);
    if (types === undefined) return undefined;
    for (const type of types) all.add(type);
  }
  return all;
}

function typeOf(value: unknown): string {
  if (value === null) return 'null';
  return Array.isArray(value) ? 'array' : typeof value;
}

/** What a `$ref` inside the tool's own schema points to. */
function resolve(ref: string, root: Schema): unknown {
  if (!ref.startsWith('#/')) return undefined;
  let at: unknown = root;
  for (const part of ref.slice(2).split('/')) {
    const key = part.replaceAll('~1', '/').replaceAll('~0', '~');
    at = isObject(at) && Object.hasOwn(at, key) ? at[key] : undefined;
  }
  return at;
}

function isObject(value: unknown): value is Schema {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
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

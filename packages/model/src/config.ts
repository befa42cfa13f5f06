import { z } from 'zod';
import { ModelError } from './errors.ts';
import { bookkeepingKeys } from './families/bookkeeping-keys.ts';
import type { Family, TextConfig } from './families/family.ts';
import { families } from './families/index.ts';
import { notComputed } from './families/not-computed.ts';
import { expertLayers, type ModelConfig } from './model-config.ts';

/** Kimi-K2 has 23,040. */
const MAX_EXPERTS_IN_ALL = 1 << 17;

/**
 * Reads a parsed `config.json` (Hugging Face layout). `where` names the file in errors.
 * Throws a ModelError that names the key: nothing that would change the output is guessed or ignored.
 */
export function parseModelConfig(json: unknown, where = 'config.json'): ModelConfig {
  if (typeof json !== 'object' || json === null || Array.isArray(json)) {
    throw new ModelError('bad-json', undefined, `${where}: expected a JSON object with the model's configuration`);
  }
  const whole = json as Record<string, unknown>;
  const family = findFamily(whole, where);
  const keys = family.textConfig ? textKeys(family.textConfig, whole, where) : whole;
  const known = [...Object.keys(family.schema.shape), ...family.ignoredKeys, ...bookkeepingKeys];
  refuseUnknown(keys, known, where);
  const config = family.toConfig(parseKeys(family.schema, withoutNulls(family.schema, keys), where), where);
  refuseTooManyExperts(config, where);
  return config;
}

/** Each is listed by itself, several times: 2 million, which the limits of layers and experts allow, would take gigabytes. */
function refuseTooManyExperts(config: ModelConfig, where: string): void {
  const layers = expertLayers(config).length;
  if (layers * config.nRoutedExperts <= MAX_EXPERTS_IN_ALL) return;
  const problem = `${layers} layers of ${config.nRoutedExperts} routed experts`;
  const message = `${where}: num_hidden_layers gives ${problem}; this version reads up to ${MAX_EXPERTS_IN_ALL} in all`;
  throw new ModelError('bad-value', 'num_hidden_layers', message);
}

/** Throws `unknown-key` for a key that isn't among the known ones, unless it holds nothing. */
function refuseUnknown(keys: Record<string, unknown>, known: readonly string[], where: string): void {
  for (const [key, value] of Object.entries(keys)) {
    if (known.includes(key) || holdsNothing(value)) continue;
    const problem = `${key} is set to ${excerpt(value)}, which this version doesn't know`;
    const remedy = `remove it if it has no effect on inference, and report it with the model's name, so that Shoal learns it`;
    throw new ModelError('unknown-key', key, `${where}: ${problem}: ${remedy}`);
  }
}

/** null, false, or an empty list or object. */
function holdsNothing(value: unknown): boolean {
  if (typeof value === 'object' && value !== null) return Object.keys(value).length === 0;
  return value === null || value === false;
}

/** The text model's keys: its own, and those that may stand beside it. */
function textKeys(
  { key, modelTypes, outside, ignoredKeys }: TextConfig,
  whole: Record<string, unknown>,
  where: string,
): Record<string, unknown> {
  const own = whole[key];
  if (typeof own !== 'object' || own === null || Array.isArray(own)) {
    throw new ModelError('missing-key', key, `${where}: ${key} is missing: add it as in the published config`);
  }
  const keys = own as Record<string, unknown>;
  const modelType = keys['model_type'];
  if (modelType !== undefined && !modelTypes.includes(String(modelType))) {
    const message = `${where}: ${key}.model_type is ${excerpt(modelType)}; supported: ${modelTypes.join(', ')}`;
    throw new ModelError('unknown-architecture', key, message);
  }
  refuseUnknown(whole, [key, ...outside, ...ignoredKeys, ...bookkeepingKeys], where);
  const inherited = outside.filter((name) => whole[name] !== undefined && (keys[name] ?? null) === null);
  return { ...keys, ...Object.fromEntries(inherited.map((name) => [name, whole[name]])) };
}

function supportedTypes(): string {
  const types = (isDense: boolean): string =>
    [...families.values()]
      .flatMap((family) => ((family.isDense ?? false) === isDense ? family.modelType : []))
      .join(', ');
  return `${types(false)}; to draft for one of these also ${types(true)}`;
}

function findFamily(json: Record<string, unknown>, where: string): Family {
  const supported = supportedTypes();
  const modelType = json['model_type'];
  if (modelType === undefined) {
    throw new ModelError('missing-key', 'model_type', `${where}: model_type is missing; supported: ${supported}`);
  }
  const family = typeof modelType === 'string' ? families.get(modelType) : undefined;
  if (!family) {
    const reason = typeof modelType === 'string' ? notComputed.get(modelType) : undefined;
    const why = reason === undefined ? '' : `, since it ${reason}`;
    const message = `${where}: model_type ${excerpt(modelType)} is not supported${why}; supported: ${supported}`;
    throw new ModelError('unknown-architecture', 'model_type', message);
  }
  const key = 'architectures';
  const expected = family.architectures.map((name) => `["${name}"]`).join(' or ');
  const architectures = json[key];
  if (architectures === undefined || architectures === null) {
    const message = `${where}: ${key} is missing; expected ${expected} for model_type ${family.modelType}`;
    throw new ModelError('missing-key', key, message);
  }
  if (!Array.isArray(architectures) || architectures.length !== 1 || !family.architectures.includes(architectures[0])) {
    const supportedAs = `model_type ${family.modelType} is supported as ${expected} only`;
    throw new ModelError('unknown-architecture', key, `${where}: ${key} is ${excerpt(architectures)}; ${supportedAs}`);
  }
  return family;
}

/** Tools write null for what they leave to the default, so it is as if the key were absent, except where null is a choice of its own. */
function withoutNulls(schema: z.ZodObject, json: Record<string, unknown>): Record<string, unknown> {
  const isDefault = ([key, value]: [string, unknown]): boolean =>
    value === null && key in schema.shape && !(schema.shape[key] as z.ZodType).safeParse(null).success;
  return Object.fromEntries(Object.entries(json).filter((entry) => !isDefault(entry)));
}

function parseKeys<S extends z.ZodObject>(schema: S, json: Record<string, unknown>, where: string): z.infer<S> {
  const parsed = schema.safeParse(json);
  if (parsed.success) return parsed.data;
  const issue = parsed.error.issues[0]!;
  const key = String(issue.path[0]);
  if (json[key] === undefined) {
    throw new ModelError('missing-key', key, `${where}: ${key} is missing: add it as in the published config`);
  }
  throw new ModelError('bad-value', key, `${where}: ${key} is ${excerpt(json[key])}: ${issue.message}`);
}

/** A value as JSON, cut to fit a log line. */
function excerpt(value: unknown): string {
  // JSON has no NaN and no ∞.
  const text = typeof value === 'number' ? String(value) : (JSON.stringify(value) ?? String(value));
  return text.length > 80 ? `${text.slice(0, 77)}…` : text;
}

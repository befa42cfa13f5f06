import type { GrammarPart, JsonSchema } from '../grammar/grammar-source.ts';
import { argumentTypes, isAlwaysText } from './argument-types.ts';
import type { Tool } from './output-parser.ts';
import type { TaggedForm } from './tagged-calls.ts';

/** A call under a grammar, its parameters in the schema's order; those that are not required may be left out. */
export function taggedCall(tool: Tool, form: TaggedForm, between: string): readonly GrammarPart[] {
  const { properties, required } = tool.parameters ?? {};
  const names = Object.keys((properties ?? {}) as object);
  const needed = new Set(Array.isArray(required) ? required : []);
  const parameters = names.map((key): GrammarPart[] => {
    const parts = parameter(tool, key, form, between);
    return needed.has(key) ? parts : [{ optional: parts }];
  });
  return [`${form.callOpen}${tool.name}${form.nameEnd}${between}`, ...parameters.flat(), form.callClose];
}

function parameter(tool: Tool, key: string, form: TaggedForm, between: string): GrammarPart[] {
  const own = (tool.parameters!['properties'] as Record<string, JsonSchema>)[key]!;
  const isText = isAlwaysText(argumentTypes(tool, key));
  const line = form.ownLines ? '\n' : '';
  const kind = form.kinds ? (isText ? form.kinds.text : form.kinds.json) : '';
  const open = `${form.keyOpen}${key}${form.keyEnd}${form.valueOpen ?? ''}${kind}${line}`;
  const close = `${line}${form.valueClose}`;
  if (!isText) return [open, { schema: withDefinitions(own, tool) }, `${close}${between}`];
  const choices = typeof own === 'object' ? (own['enum'] ?? ('const' in own ? [own['const']] : undefined)) : undefined;
  if (Array.isArray(choices)) return [open, { choice: choices.map(String) }, `${close}${between}`];
  return between === '' ? [open, { until: close }] : [open, { until: close }, between];
}

/** A part of a tool's schema that still finds what its references point to. */
function withDefinitions(schema: JsonSchema, tool: Tool): JsonSchema {
  const { $defs, definitions } = tool.parameters!;
  if (typeof schema !== 'object') return schema;
  return { ...schema, ...($defs ? { $defs } : {}), ...(definitions ? { definitions } : {}) };
}

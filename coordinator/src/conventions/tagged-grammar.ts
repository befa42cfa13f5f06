import type { GrammarPart, JsonSchema } from '../grammar/grammar-source.ts';
import type { Tool } from './output-parser.ts';
import type { TaggedForm } from './tagged-calls.ts';
import { argumentLists, withDefinitions } from './tool-arguments.ts';

/** A call under a grammar, its parameters in the schema's order; those that are not required may be left out. */
export function taggedCall(tool: Tool, form: TaggedForm, between: string): readonly GrammarPart[] {
  const lists = argumentLists(tool).map(({ properties, required }) =>
    [...properties].flatMap(([key, schema]): GrammarPart[] => {
      const parts = [parameter(key, withDefinitions(schema, tool), form), between].flat();
      return required.has(key) ? parts : [{ optional: parts }];
    }),
  );
  return [`${form.callOpen}${tool.name}${form.nameEnd}${between}`, { either: lists }, form.callClose];
}

function parameter(key: string, value: JsonSchema, form: TaggedForm): GrammarPart[] {
  const { keyOpen, keyEnd, valueOpen = '', valueClose, kinds } = form;
  const line = form.ownLines ? '\n' : '';
  return [`${keyOpen}${key}${keyEnd}${valueOpen}`, { value, line, close: valueClose, kinds }];
}

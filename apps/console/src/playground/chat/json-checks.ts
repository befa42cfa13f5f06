import { isFields } from '../chunk.ts';

export interface Tool {
  type: 'function';
  function: { name: string; description?: string; parameters?: object };
}

export type Checked<T> = { ok: true; value: T } | { ok: false; fault: string };

function parse(text: string): Checked<unknown> {
  try {
    return { ok: true, value: JSON.parse(text) };
  } catch (error) {
    return { ok: false, fault: `This is not JSON: ${(error as Error).message}` };
  }
}

/** Tool definitions as OpenAI has them; an empty text is no tools. */
export function checkTools(text: string): Checked<Tool[]> {
  if (text.trim() === '') return { ok: true, value: [] };
  const json = parse(text);
  if (!json.ok) return json;
  if (!Array.isArray(json.value)) return { ok: false, fault: 'Enter an array of tools: […].' };
  const names = new Set<string>();
  for (const [index, tool] of json.value.entries()) {
    const fault = toolFault(tool, names);
    if (fault !== null) return { ok: false, fault: `Tool ${index + 1} ${fault}` };
  }
  return { ok: true, value: json.value as Tool[] };
}

function toolFault(tool: unknown, names: Set<string>): string | null {
  if (!isFields(tool) || tool['type'] !== 'function') return 'must be an object with "type": "function".';
  const definition = tool['function'];
  if (!isFields(definition)) return 'has no "function" object.';
  const { name, parameters } = definition;
  if (typeof name !== 'string' || name === '') return 'has no "name" in its "function".';
  if (names.has(name)) return `has the same name as another: ${name}.`;
  names.add(name);
  if (parameters !== undefined && (!isFields(parameters) || Array.isArray(parameters)))
    return `(${name}): "parameters" must be a JSON Schema, an object.`;
  return null;
}

/** A JSON Schema; an empty text is none. */
export function checkSchema(text: string): Checked<object | null> {
  if (text.trim() === '') return { ok: true, value: null };
  const json = parse(text);
  if (!json.ok) return json;
  if (!isFields(json.value) || Array.isArray(json.value)) {
    return { ok: false, fault: 'Enter a JSON Schema, an object such as {"type": "object"}.' };
  }
  if (isFields(json.value['json_schema']) || isFields(json.value['schema'])) {
    return { ok: false, fault: 'Enter only the schema itself: the page wraps it into response_format.' };
  }
  return { ok: true, value: json.value };
}

/** JSON with line breaks, or null if the text is none. */
export function pretty(text: string): string | null {
  const json = parse(text);
  return json.ok ? JSON.stringify(json.value, null, 2) : null;
}

export const exampleTools = JSON.stringify(
  [
    {
      type: 'function',
      function: {
        name: 'get_weather',
        description: 'Get the weather at a place.',
        parameters: {
          type: 'object',
          properties: { city: { type: 'string' }, unit: { enum: ['celsius', 'fahrenheit'] } },
          required: ['city'],
        },
      },
    },
  ],
  null,
  2,
);

export const exampleSchema = JSON.stringify(
  {
    type: 'object',
    properties: { name: { type: 'string' }, age: { type: 'integer', minimum: 0 } },
    required: ['name', 'age'],
    additionalProperties: false,
  },
  null,
  2,
);

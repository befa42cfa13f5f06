import { allSpecs, type ParameterName, reasoningSpecs } from './specs.ts';

export type ParameterValues = Record<ParameterName, string>;
export type Endpoint = 'chat' | 'text';

/** All fields empty: every parameter is left to the server. */
export const noParameters = Object.fromEntries(allSpecs.map(({ name }) => [name, ''])) as ParameterValues;

export interface ReadParameters {
  /** As they stand in a request body. */
  sent: Record<string, unknown>;
  faults: Partial<Record<ParameterName, string>>;
}

/** Reads the fields that say something else than the server's default. Limits that only the server knows are left to it. */
export function readParameters(values: ParameterValues, endpoint: Endpoint): ReadParameters {
  const sent: Record<string, unknown> = {};
  const faults: ReadParameters['faults'] = {};
  for (const spec of allSpecs) {
    const text = values[spec.name];
    if (text.trim() === '' || (endpoint === 'text' && reasoningSpecs.includes(spec))) continue;
    const reading = spec.read(text);
    if ('fault' in reading) faults[spec.name] = reading.fault;
    else if (reading.value !== spec.neutral) Object.assign(sent, inBody(spec.name, reading.value, endpoint));
  }
  return { sent, faults };
}

function inBody(name: ParameterName, value: unknown, endpoint: Endpoint): Record<string, unknown> {
  if (name === 'enable_thinking') return { chat_template_kwargs: { enable_thinking: value } };
  if (endpoint === 'text') return { [name]: value };
  if (name === 'max_tokens') return { max_completion_tokens: value };
  if (name === 'logprobs') return { logprobs: true, top_logprobs: value };
  return { [name]: value };
}

/** Parameters of a request that have a field of another name. */
const fieldNames: Readonly<Record<string, string>> = {
  max_completion_tokens: 'max_tokens',
  top_logprobs: 'logprobs',
  chat_template_kwargs: 'enable_thinking',
  thinking: 'enable_thinking',
  functions: 'tools',
  function_call: 'tool_choice',
  response_format: 'schema',
};

/** The field of a parameter that an error names, such as `response_format` of `response_format.json_schema.schema`. */
export function fieldOfParameter(param: string): string {
  const [first = ''] = param.split(/[.[]/);
  return fieldNames[first] ?? first;
}

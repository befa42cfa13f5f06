import { noParameters, type ParameterValues, readParameters } from '../parameters/read.ts';

export type TextValues = ParameterValues & { prompt: string };

export interface TextBody {
  model: string;
  prompt: string;
  stream: true;
  stream_options: { include_usage: true };
  [parameter: string]: unknown;
}

export const initialText: TextValues = {
  ...noParameters,
  prompt: 'Once upon a time, there was a little fish who',
  temperature: '0.8',
  top_p: '0.95',
  max_tokens: '120',
};

/** Returns the request, or the form's faults by field. */
export function readText(
  values: TextValues,
  model: string,
): { ok: true; body: TextBody } | { ok: false; faults: Partial<Record<keyof TextValues, string>> } {
  const { sent, faults } = readParameters(values, 'text');
  if (values.prompt === '') return { ok: false, faults: { prompt: 'Enter a prompt.', ...faults } };
  if (Object.keys(faults).length > 0) return { ok: false, faults };
  const { prompt } = values;
  return { ok: true, body: { model, prompt, ...sent, stream: true, stream_options: { include_usage: true } } };
}

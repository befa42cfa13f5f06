import { isFields } from '../chunk.ts';

export type ParameterName =
  | 'temperature'
  | 'top_p'
  | 'max_tokens'
  | 'seed'
  | 'stop'
  | 'reasoning_effort'
  | 'enable_thinking'
  | 'top_k'
  | 'min_p'
  | 'presence_penalty'
  | 'frequency_penalty'
  | 'repetition_penalty'
  | 'min_tokens'
  | 'ignore_eos'
  | 'logprobs'
  | 'logit_bias';

/** What a field's text means, or what is wrong with it. */
export type Reading = { value: unknown } | { fault: string };

export interface ParameterSpec {
  name: ParameterName;
  label: string;
  /** Shown in an empty field, which leaves the parameter to the server. */
  hint: string;
  /** `lines` and `json` are boxes over the whole width; a list is a choice of values. */
  field: 'number' | 'lines' | 'json' | readonly (readonly [value: string, label: string])[];
  read: (text: string) => Reading;
  /** Sending it would change nothing. */
  neutral?: number;
}

/** The server's limit. */
const MAX_STOPS = 32;
const MAX_BIAS = 100;
const MAX_ALTERNATIVES = 20;

function inRange(least: number, most: number, more = ''): (text: string) => Reading {
  return (text) => {
    const value = Number(text);
    return value >= least && value <= most
      ? { value }
      : { fault: `Enter a number from ${least} to ${most}, or leave this empty.${more}` };
  };
}

function wholeFrom(least: number, most = Number.MAX_SAFE_INTEGER): (text: string) => Reading {
  return (text) => {
    const value = Number(text);
    if (Number.isSafeInteger(value) && value >= least && value <= most) return { value };
    const range = most === Number.MAX_SAFE_INTEGER ? `${least} or more` : `from ${least} to ${most}`;
    return { fault: `Enter a whole number, ${range}, or leave this empty.` };
  };
}

const asIs = (text: string): Reading => ({ value: text });
const isTrue = (text: string): Reading => ({ value: text === 'true' });

function readStops(text: string): Reading {
  const value = text
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => line.replaceAll('\\n', '\n'));
  return value.length > MAX_STOPS ? { fault: `Enter at most ${MAX_STOPS} lines.` } : { value };
}

function readBiases(text: string): Reading {
  try {
    const value: unknown = JSON.parse(text);
    const isBias = ([id, bias]: [string, unknown]): boolean =>
      /^\d+$/.test(id) && typeof bias === 'number' && Math.abs(bias) <= MAX_BIAS;
    if (isFields(value) && !Array.isArray(value) && Object.entries(value).every(isBias)) return { value };
  } catch (error) {
    return { fault: `This is not JSON: ${(error as Error).message}` };
  }
  return { fault: `Enter token ids with numbers from -${MAX_BIAS} to ${MAX_BIAS}, such as {"1734": -100}.` };
}

const own = 'model’s own';

/** Always in sight, in both modes. */
export const commonSpecs: readonly ParameterSpec[] = [
  {
    name: 'temperature',
    label: 'Temperature',
    hint: own,
    field: 'number',
    read: inRange(0, 2, ' 0 is deterministic.'),
  },
  { name: 'top_p', label: 'Top p', hint: own, field: 'number', read: inRange(0, 1) },
  { name: 'max_tokens', label: 'Max tokens', hint: 'what fits', field: 'number', read: wholeFrom(1) },
  { name: 'seed', label: 'Seed', hint: 'any', field: 'number', read: wholeFrom(Number.MIN_SAFE_INTEGER) },
];

const byDefault = ['', 'default'] as const;

/** For models that reason. */
export const reasoningSpecs: readonly ParameterSpec[] = [
  {
    name: 'reasoning_effort',
    label: 'Reasoning effort',
    hint: '',
    field: [
      byDefault,
      ...['none', 'minimal', 'low', 'medium', 'high', 'xhigh', 'max'].map((word) => [word, word] as const),
    ],
    read: asIs,
  },
  {
    name: 'enable_thinking',
    label: 'Thinking',
    hint: '',
    field: [byDefault, ['true', 'on'], ['false', 'off']],
    read: isTrue,
  },
];

/** After the others, since it takes a line of its own. */
export const stopSpec: ParameterSpec = {
  name: 'stop',
  label: 'Stop at, one per line',
  hint: '',
  field: 'lines',
  read: readStops,
};

export const moreSpecs: readonly ParameterSpec[] = [
  { name: 'top_k', label: 'Top k', hint: own, field: 'number', read: wholeFrom(-1) },
  { name: 'min_p', label: 'Min p', hint: own, field: 'number', read: inRange(0, 1) },
  {
    name: 'presence_penalty',
    label: 'Presence penalty',
    hint: '0',
    field: 'number',
    read: inRange(-2, 2),
    neutral: 0,
  },
  {
    name: 'frequency_penalty',
    label: 'Frequency penalty',
    hint: '0',
    field: 'number',
    read: inRange(-2, 2),
    neutral: 0,
  },
  {
    name: 'repetition_penalty',
    label: 'Repetition penalty',
    hint: own,
    field: 'number',
    read: (text) =>
      Number(text) > 0 && Number(text) <= 10
        ? { value: Number(text) }
        : { fault: 'Enter a number above 0, up to 10, or leave this empty. 1 changes nothing.' },
  },
  { name: 'min_tokens', label: 'Min tokens', hint: '0', field: 'number', read: wholeFrom(0), neutral: 0 },
  {
    name: 'logprobs',
    label: 'Alternatives shown',
    hint: 'none',
    field: 'number',
    read: wholeFrom(0, MAX_ALTERNATIVES),
  },
  {
    name: 'ignore_eos',
    label: 'At the model’s end',
    hint: '',
    field: [
      ['', 'stop'],
      ['true', 'go on to max tokens'],
    ],
    read: isTrue,
  },
  {
    name: 'logit_bias',
    label: 'Logit bias by token id, as JSON',
    hint: '{"1734": -100}',
    field: 'json',
    read: readBiases,
  },
];

export const allSpecs: readonly ParameterSpec[] = [...commonSpecs, ...reasoningSpecs, stopSpec, ...moreSpecs];

const otherLabels: Readonly<Record<string, string>> = {
  prompt: 'Prompt',
  system: 'System prompt',
  message: 'Your message',
  tools: 'Tools',
  tool_choice: 'Tool choice',
  schema: 'JSON Schema of the answer',
};

/** The label of a field of either mode. */
export const labelOf = (name: string): string =>
  allSpecs.find((spec) => spec.name === name)?.label ?? otherLabels[name] ?? name;

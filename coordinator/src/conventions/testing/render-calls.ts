import type { WholeCall } from '../convention.ts';

/** A piece of an answer: text, or a special token. */
export type Piece = string | { special: string };

/** How a convention's models write an answer, for tests. */
export interface Renderer {
  convention: string;
  /** A template that shows the convention and how reasoning is marked off. */
  template: string;
  render(calls: readonly WholeCall[]): string;
  /** Markers that are special tokens in the models' own vocabularies. */
  specials: readonly string[];
  /** Texts that cannot stand in a string argument, since nothing escapes them. */
  unwritable?: readonly string[];
  /** Whether arguments are members with values that are written one by one, with names that fit in tags. */
  isTagged?: boolean;
  /** Whether an answer holds one call only. */
  isSingle?: boolean;
  /** Whether the content before a call is read as content. */
  hasContent?: boolean;
}

const json = (call: WholeCall, key = 'arguments'): string =>
  `{"name": ${JSON.stringify(call.name)}, "${key}": ${call.arguments}}`;

const members = (call: WholeCall): [string, unknown][] =>
  Object.entries(JSON.parse(call.arguments) as Record<string, unknown>);

const plain = (value: unknown): string => (typeof value === 'string' ? value : JSON.stringify(value));

/** A value as Python's `str` of it, which templates print. */
const pythonText = (value: unknown): string =>
  typeof value === 'boolean' ? (value ? 'True' : 'False') : value === null ? 'None' : plain(value);

function python(value: unknown): string {
  if (typeof value === 'string') return `'${JSON.stringify(value).slice(1, -1).replaceAll("'", "\\'")}'`;
  if (Array.isArray(value)) return `[${value.map(python).join(', ')}]`;
  if (typeof value !== 'object' || value === null) return pythonText(value);
  return `{${Object.entries(value)
    .map(([key, item]) => `${python(key)}: ${python(item)}`)
    .join(', ')}}`;
}

const pythonic = (calls: readonly WholeCall[]): string =>
  `[${calls
    .map(
      (call) =>
        `${call.name}(${members(call)
          .map(([key, value]) => `${key}=${python(value)}`)
          .join(', ')})`,
    )
    .join(', ')}]`;

const invoke = (calls: readonly WholeCall[], tag: string, parameter: (key: string, value: unknown) => string): string =>
  calls
    .map((call) => {
      const lines = members(call).map(
        ([key, value]) => `<${tag}parameter name="${key}"${parameter(key, value)}</${tag}parameter>\n`,
      );
      return `<${tag}invoke name="${call.name}">\n${lines.join('')}</${tag}invoke>\n`;
    })
    .join('');

const dsml =
  (block: string) =>
  (calls: readonly WholeCall[]): string =>
    `<｜DSML｜${block}>\n${invoke(calls, '｜DSML｜', (_, value) => ` string="${String(typeof value === 'string')}">${plain(value)}`)}</｜DSML｜${block}>`;

const deepseek =
  (call: (call: WholeCall) => string, between: string) =>
  (calls: readonly WholeCall[]): string =>
    `<｜tool▁calls▁begin｜>${calls.map((one) => `<｜tool▁call▁begin｜>${call(one)}<｜tool▁call▁end｜>`).join(between)}<｜tool▁calls▁end｜>`;

const functions =
  (open: string, close: string, line: string) =>
  (calls: readonly WholeCall[]): string =>
    calls
      .map((call) => {
        const lines = members(call).map(
          ([key, value]) => `<parameter=${key}>${line}${pythonText(value)}${line}</parameter>\n`,
        );
        return `${open}\n<function=${call.name}>\n${lines.join('')}</function>\n${close}`;
      })
      .join('\n');

const THINK = '<think></think>';
const DSML = ['</｜DSML｜parameter>'];

export const RENDERERS: readonly Renderer[] = [
  {
    convention: 'hermes',
    template: `${THINK}<tool_call>{"name":`,
    render: (calls) => calls.map((call) => `<tool_call>\n${json(call)}\n</tool_call>`).join('\n'),
    specials: [],
  },
  {
    convention: 'minimax_m1',
    template: '<tool_calls>',
    render: (calls) => `<tool_calls>\n${calls.map((call) => `${json(call)}\n`).join('')}</tool_calls>`,
    specials: [],
  },
  {
    convention: 'granite',
    template: '<|tool_call|>',
    render: (calls) => `<|tool_call|>[${calls.map((call) => json(call)).join(', ')}]`,
    specials: ['<|tool_call|>'],
  },
  {
    convention: 'gigachat3',
    template: '<|function_call|>',
    render: (calls) => `<|function_call|>${json(calls[0]!)}`,
    specials: ['<|function_call|>'],
    isSingle: true,
  },
  {
    convention: 'generic',
    template: '{{ messages }}',
    render: (calls) => calls.map((call) => json(call)).join('\n'),
    specials: [],
    hasContent: false,
  },
  {
    convention: 'llama3_json',
    template: '<|python_tag|>',
    render: (calls) => calls.map((call) => json(call, 'parameters')).join('; '),
    specials: ['<|python_tag|>'],
    hasContent: false,
  },
  {
    convention: 'pythonic',
    template: '[func_name1(',
    render: pythonic,
    specials: ['<|python_tag|>'],
    isTagged: true,
    hasContent: false,
  },
  {
    convention: 'lfm2',
    template: '<|tool_call_start|>',
    render: (calls) => `<|tool_call_start|>${pythonic(calls)}<|tool_call_end|>`,
    specials: ['<|tool_call_start|>', '<|tool_call_end|>'],
    isTagged: true,
  },
  {
    convention: 'mistral',
    template: '[THINK][/THINK][TOOL_CALLS][ARGS]',
    render: (calls) => calls.map((call) => `[TOOL_CALLS]${call.name}[ARGS]${call.arguments}`).join(''),
    specials: ['[TOOL_CALLS]', '[ARGS]', '[THINK]', '[/THINK]'],
  },
  {
    convention: 'mistral_json',
    template: '[TOOL_CALLS]',
    render: (calls) => `[TOOL_CALLS] [${calls.map((call) => json(call)).join(', ')}]`,
    specials: ['[TOOL_CALLS]'],
  },
  {
    convention: 'deepseek_v3',
    template: `${THINK}<｜tool▁sep｜>\n\`\`\`json`,
    render: deepseek((call) => `function<｜tool▁sep｜>${call.name}\n\`\`\`json\n${call.arguments}\n\`\`\``, '\n'),
    specials: ['<｜tool▁calls▁begin｜>', '<｜tool▁call▁begin｜>', '<｜tool▁sep｜>', '<｜tool▁call▁end｜>'],
  },
  {
    convention: 'deepseek_v31',
    template: `${THINK}<｜tool▁sep｜>`,
    render: deepseek((call) => `${call.name}<｜tool▁sep｜>${call.arguments}`, ''),
    specials: ['<｜tool▁calls▁begin｜>', '<｜tool▁calls▁end｜>'],
  },
  {
    convention: 'kimi_k2',
    template: `${THINK}<|tool_calls_section_begin|>`,
    render: (calls) => {
      const all = calls.map(
        (call, index) =>
          `<|tool_call_begin|>functions.${call.name}:${index}<|tool_call_argument_begin|>${call.arguments}<|tool_call_end|>`,
      );
      return `<|tool_calls_section_begin|>${all.join('')}<|tool_calls_section_end|>`;
    },
    specials: [
      '<|tool_calls_section_begin|>',
      '<|tool_calls_section_end|>',
      '<|tool_call_begin|>',
      '<|tool_call_argument_begin|>',
      '<|tool_call_end|>',
    ],
  },
  {
    convention: 'harmony',
    template: '<|channel|>analysis',
    render: (calls) =>
      calls
        .map(
          (call) =>
            `<|channel|>commentary to=functions.${call.name} <|constrain|>json<|message|>${call.arguments}<|call|>`,
        )
        .join('<|start|>assistant'),
    specials: ['<|channel|>', '<|constrain|>', '<|message|>', '<|call|>', '<|start|>', '<|end|>', '<|return|>'],
    hasContent: false,
  },
  {
    convention: 'qwen3_coder',
    template: `${THINK}<function=`,
    render: functions('<tool_call>', '</tool_call>', '\n'),
    specials: [],
    unwritable: ['</parameter>'],
    isTagged: true,
  },
  {
    convention: 'seed_oss',
    template: '<seed:think></seed:think><seed:tool_call>',
    render: functions('<seed:tool_call>', '</seed:tool_call>', ''),
    specials: ['<seed:tool_call>', '</seed:tool_call>', '<seed:think>', '</seed:think>'],
    unwritable: ['</parameter>'],
    isTagged: true,
  },
  {
    convention: 'glm45',
    template: `${THINK}<arg_key>`,
    render: (calls) =>
      calls
        .map((call) => {
          const all = members(call).map(
            ([key, value]) => `<arg_key>${key}</arg_key>\n<arg_value>${plain(value)}</arg_value>\n`,
          );
          return `<tool_call>${call.name}\n${all.join('')}</tool_call>`;
        })
        .join('\n'),
    specials: [],
    unwritable: ['</arg_value>'],
    isTagged: true,
  },
  {
    convention: 'minimax_m2',
    template: `${THINK}<minimax:tool_call>`,
    render: (calls) =>
      `<minimax:tool_call>\n${invoke(calls, '', (_, value) => `>${plain(value)}`)}</minimax:tool_call>`,
    specials: [],
    unwritable: ['</parameter>'],
    isTagged: true,
  },
  {
    convention: 'deepseek_v32',
    template: `${THINK}｜DSML｜`,
    render: dsml('function_calls'),
    specials: [],
    unwritable: DSML,
    isTagged: true,
  },
  {
    convention: 'deepseek_v4',
    template: `${THINK}｜DSML｜tool_calls>`,
    render: dsml('tool_calls'),
    specials: [],
    unwritable: DSML,
    isTagged: true,
  },
];

/** Tells special tokens from text. */
export function toPieces(text: string, specials: readonly string[]): Piece[] {
  if (specials.length === 0) return [text];
  const pattern = new RegExp(`(${specials.map((one) => one.replace(/[\\^$.*+?()[\]{}|/]/g, '\\$&')).join('|')})`);
  return text
    .split(pattern)
    .filter((part) => part !== '')
    .map((part) => (specials.includes(part) ? { special: part } : part));
}

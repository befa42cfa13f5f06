import { ChatTemplate, type ChatMessage, type ChatTool } from '@shoal/model';
import { parseJsonValue } from '../../packages/model/src/jinja/json.ts';
import { PythonTemplate } from '../../packages/model/src/jinja/template.ts';
import { toJson } from '../../packages/model/src/jinja/text.ts';

/** What `make/chat_templates/make.py` writes; numbers and the order of keys are as Python has them. */
export interface ChatTemplateCases {
  templates: Record<string, TemplateCases>;
  cases: Record<string, ConversationCase>;
  values: Record<string, unknown>;
  snippets: Record<string, string | null>;
}

type Rendered = string | null | { object: string | null; string: string | null };

export interface TemplateCases {
  source: string;
  argumentsAs?: 'object' | 'string';
  prepared: Record<string, Rendered>;
  /** Of published templates only. */
  raw?: Record<string, Rendered>;
}

interface ConversationCase {
  messages: Record<string, unknown>[];
  tools?: ChatTool[];
  variables?: Record<string, unknown>;
  add_generation_prompt?: boolean;
}

/** A text that should be equal to another one; null is an error. */
export interface Comparison {
  name: string;
  expected: string | null;
  actual: () => string;
}

const SPECIAL = { bos_token: '<s>', eos_token: '</s>' };

export function parseCases(json: string): ChatTemplateCases {
  return plain(parseJsonValue(json)) as ChatTemplateCases;
}

/** Objects instead of dicts, but for a call's arguments, in which the order of keys counts. */
function plain(value: unknown, key = ''): unknown {
  if (Array.isArray(value)) return value.map((item) => plain(item));
  if (!(value instanceof Map) || key === 'arguments') return value;
  return Object.fromEntries([...(value as Map<string, unknown>)].map(([name, item]) => [name, plain(item, name)]));
}

/** As `ChatTemplate` renders it, with what it makes of the messages. */
export function preparedComparisons({ cases }: ChatTemplateCases, of: TemplateCases): Comparison[] {
  const template = new ChatTemplate(of.source, SPECIAL);
  const form = template.traits.argumentsAs;
  return Object.entries(of.prepared).map(([name, rendered]) => {
    const { tools, variables, add_generation_prompt: addGenerationPrompt } = cases[name]!;
    const messages = withTextArguments(cases[name]!.messages) as unknown as ChatMessage[];
    const actual = (): string => template.renderChat(messages, { tools, variables, addGenerationPrompt });
    return { name, expected: inForm(rendered, form), actual };
  });
}

/** The values as they are, with a call's arguments in both forms. */
export function rawComparisons({ cases }: ChatTemplateCases, of: TemplateCases): Comparison[] {
  const template = new PythonTemplate(of.source);
  return Object.entries(of.raw ?? {}).flatMap(([name, rendered]) =>
    (['object', 'string'] as const).map((form) => {
      const { messages, tools = null, variables, add_generation_prompt: asksForAnswer = true } = cases[name]!;
      const given = form === 'string' ? withTextArguments(messages) : messages;
      const values = { ...SPECIAL, ...variables, tools, documents: null, messages: given };
      const actual = (): string => template.render({ ...values, add_generation_prompt: asksForAnswer });
      return { name: `${name}, arguments as ${form}`, expected: inForm(rendered, form), actual };
    }),
  );
}

const inForm = (rendered: Rendered, form: 'object' | 'string'): string | null =>
  typeof rendered === 'object' && rendered !== null ? rendered[form] : rendered;

function withTextArguments(messages: Record<string, unknown>[]): Record<string, unknown>[] {
  return messages.map((message) => {
    const calls = message['tool_calls'] as { function: { arguments: never } }[] | undefined;
    if (!calls) return message;
    const asText = calls.map((call) => ({
      ...call,
      function: { ...call.function, arguments: toJson(call.function.arguments) },
    }));
    return { ...message, tool_calls: asText };
  });
}

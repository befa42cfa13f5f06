import { noParameters, type ParameterValues, readParameters } from '../parameters/read.ts';
import type { Turn } from './conversation.ts';
import { checkSchema, checkTools, type Tool } from './json-checks.ts';

export type ChatField = 'system' | 'message' | 'tools' | 'tool_choice' | 'schema';
export type ChatValues = ParameterValues & Record<ChatField, string>;

export interface Message {
  role: 'system' | 'user' | 'assistant' | 'tool';
  content: string | null;
  reasoning_content?: string;
  tool_calls?: { id: string; type: 'function'; function: { name: string; arguments: string } }[];
  tool_call_id?: string;
}

export interface ChatBody {
  model: string;
  messages: Message[];
  tools?: Tool[];
  tool_choice?: unknown;
  response_format?: unknown;
  stream: true;
  stream_options: { include_usage: true };
  [parameter: string]: unknown;
}

export const initialChat: ChatValues = {
  ...noParameters,
  system: '',
  message: 'Tell me a story about a little fish.',
  tools: '',
  tool_choice: '',
  schema: '',
  max_tokens: '300',
};

/** What a message of a request comes from: the system prompt's field, or a turn by its key. */
export type Source = 'system' | number;

/** The messages of a conversation, and where each of them comes from. */
export function messagesOf(system: string, turns: readonly Turn[]): { messages: Message[]; sources: Source[] } {
  const messages: Message[] = [];
  const sources: Source[] = [];
  const add = (message: Message, source: Source): void => {
    messages.push(message);
    sources.push(source);
  };
  if (system !== '') add({ role: 'system', content: system }, 'system');
  for (const turn of turns) {
    if (turn.role === 'user') {
      add({ role: 'user', content: turn.content }, turn.key);
      continue;
    }
    const { content, reasoning, calls } = turn;
    add(
      {
        role: 'assistant',
        content: content === '' && calls.length > 0 ? null : content,
        ...(reasoning !== '' && { reasoning_content: reasoning }),
        ...(calls.length > 0 && {
          tool_calls: calls.map(({ id, name, arguments: given }) => ({
            id,
            type: 'function' as const,
            function: { name, arguments: given },
          })),
        }),
      },
      turn.key,
    );
    for (const { id, result } of calls) add({ role: 'tool', tool_call_id: id, content: result }, turn.key);
  }
  return { messages, sources };
}

/** Everything of a request but its messages, or the form's faults by field. */
export function readSettings(
  values: ChatValues,
): { ok: true; settings: Record<string, unknown> } | { ok: false; faults: Partial<Record<keyof ChatValues, string>> } {
  const { sent, faults: parameterFaults } = readParameters(values, 'chat');
  const faults: Partial<Record<keyof ChatValues, string>> = parameterFaults;
  const tools = checkTools(values.tools);
  const schema = checkSchema(values.schema);
  if (!tools.ok) faults.tools = tools.fault;
  if (!schema.ok) faults.schema = schema.fault;
  const choice = tools.ok ? readChoice(values.tool_choice, tools.value) : undefined;
  if (Object.keys(faults).length > 0 || !tools.ok || !schema.ok) return { ok: false, faults };
  return {
    ok: true,
    settings: {
      ...(tools.value.length > 0 && { tools: tools.value }),
      ...(choice !== undefined && { tool_choice: choice }),
      ...(schema.value && {
        response_format: { type: 'json_schema', json_schema: { name: 'answer', schema: schema.value, strict: true } },
      }),
      ...sent,
    },
  };
}

/** A tool is chosen as `function:NAME`, which differs from the words. Undefined for the default. */
function readChoice(choice: string, tools: readonly Tool[]): unknown {
  if (tools.length === 0 || choice === '') return undefined;
  if (!choice.startsWith(NAMED)) return choice;
  const name = choice.slice(NAMED.length);
  return tools.some((tool) => tool.function.name === name) ? { type: 'function', function: { name } } : undefined;
}

export const NAMED = 'function:';

export function chatBody(model: string, messages: Message[], settings: Record<string, unknown>): ChatBody {
  return { model, messages, ...settings, stream: true, stream_options: { include_usage: true } };
}

/** The first call without a typed result, among the last turn's. */
export function missingResult(turns: readonly Turn[]): string | null {
  const last = turns.at(-1);
  if (last?.role !== 'assistant') return null;
  const at = last.calls.findIndex(({ result }) => result.trim() === '');
  return at < 0 ? null : resultField(last.key, at);
}

/** Ids of the elements that show a turn's text and a result. */
export const turnField = (turnKey: number): string => `turn-${turnKey}`;
export const resultField = (turnKey: number, at: number): string => `result-${turnKey}-${at}`;

/** Whether the conversation as it stands asks for an answer, without a new message. */
export function asksForAnswer(turns: readonly Turn[]): boolean {
  const last = turns.at(-1);
  return (
    last?.role === 'user' || (last?.role === 'assistant' && last.calls.length > 0 && missingResult(turns) === null)
  );
}

/** The turns of the request to show as code: that of the typed message, or the one that was answered last. */
export function turnsToShow(turns: readonly Turn[], message: string): Turn[] {
  if (message !== '' && missingResult(turns) === null) return [...turns, { key: 0, role: 'user', content: message }];
  const end = asksForAnswer(turns) ? turns.length : turns.findLastIndex(({ role }) => role === 'user') + 1;
  return turns.slice(0, end);
}

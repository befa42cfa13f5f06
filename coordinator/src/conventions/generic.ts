import type { ChatMessage, ChatTool, TemplateTraits } from '@shoal/model';
import type { Reading } from './answer-input.ts';
import type { AnswerIo, CallOutcome } from './answer-io.ts';
import type { CallStyle } from './build-convention.ts';
import type { Prepared } from './convention.ts';
import { readJsonCalls, writeJsonCall } from './json-calls.ts';
import { argumentsSchema } from './tool-arguments.ts';

const OPENERS = ['<tool_call>', '```json\n', '```tool_call\n', '```\n{', '\n{', '\n[{'];
const CLOSERS = ['</tool_call>', '```'];

/**
 * A JSON object as the answer, or on a line of its own: for models whose template knows no tools. They are described to the
 * model in words, and what it writes is a call where it is an object with the name of a tool and arguments.
 */
export const generic: CallStyle = {
  name: 'generic',
  format: { openers: OPENERS, closers: CLOSERS, readCalls, readBare: readOwn },
  forcedCall: (tool) => [
    `{"name": ${JSON.stringify(tool.name)}, "arguments": `,
    { schema: argumentsSchema(tool) },
    '}',
  ],
  prepare,
};

function* readCalls(io: AnswerIo, opener: string): Reading<CallOutcome> {
  const { input } = io;
  const bracket = opener.search(/[{[]/);
  if (bracket >= 0) input.unread(opener.slice(bracket));
  const outcome = yield* opener === '<tool_call>' ? readJsonCalls(io) : readOwn(io);
  if (outcome === 'whole') for (const closer of CLOSERS) yield* input.tryText(closer);
  return outcome;
}

/** Without a marker, an object is a call only if it names a tool. */
function* readOwn(io: AnswerIo): Reading<CallOutcome> {
  return yield* readJsonCalls(io, (name) => io.tools.some((tool) => tool.name === name));
}

const HEADING = 'You can call these functions:';
const INSTRUCTIONS =
  'To call a function, answer with nothing but a JSON object of this form, one on a line for each call:\n' +
  '{"name": "the function\'s name", "arguments": {"its parameter": "value"}}\n' +
  'You will then be given the result. If no call is needed, answer in plain words.';

/** Describes the tools in the conversation, and writes calls and results as texts. */
function prepare(messages: readonly ChatMessage[], tools: readonly ChatTool[], traits: TemplateTraits): Prepared {
  const hasCalls = messages.some((message) => message.role === 'tool' || message.tool_calls?.length);
  if (tools.length === 0 && !hasCalls) return { messages, tools: [] };
  const plain = joinUsers(messages.map(asText));
  if (tools.length === 0) return { messages: plain, tools: [] };
  const list = tools.map((tool) => JSON.stringify(tool.function)).join('\n');
  const text = `${HEADING}\n${list}\n\n${INSTRUCTIONS}`;
  return { messages: traits.system ? withSystem(plain, text) : withFirstUser(plain, text), tools: [] };
}

/** Adds a text to the first system message, or as one. */
function withSystem([first, ...others]: readonly ChatMessage[], text: string): ChatMessage[] {
  if (first?.role !== 'system') return [{ role: 'system', content: text }, ...(first ? [first] : []), ...others];
  return [{ ...first, content: joined(first.content, text) }, ...others];
}

/** For templates that drop or refuse system messages; what those say goes where the text goes. */
function withFirstUser(messages: readonly ChatMessage[], text: string): ChatMessage[] {
  const others = messages.filter((message) => message.role !== 'system');
  const system = messages.filter((message) => message.role === 'system').map((message) => message.content ?? '');
  const prefix = [...system, text].join('\n\n');
  const at = others.findIndex((message) => message.role === 'user');
  if (at < 0) return [{ role: 'user', content: prefix }, ...others];
  return others.with(at, { ...others[at]!, content: joined(prefix, others[at]!.content ?? '') });
}

/** A message with its calls, or with the result that it brings, in words. */
function asText(message: ChatMessage): ChatMessage {
  const { tool_calls: calls, tool_call_id: id, ...rest } = message;
  if (message.role === 'tool') {
    const of = [message.name, id].filter((part) => part !== undefined).join(' ');
    return { role: 'user', content: `Result of the call${of === '' ? '' : ` ${of}`}:\n${message.content ?? ''}` };
  }
  return calls?.length
    ? { ...rest, content: joined(message.content, calls.map(writeJsonCall).join('\n'), '\n') }
    : rest;
}

/** Several results, or results and a question, make one message: many templates want user and assistant in turns. */
function joinUsers(messages: readonly ChatMessage[]): ChatMessage[] {
  const all: ChatMessage[] = [];
  for (const message of messages) {
    const last = all.at(-1);
    if (last?.role === 'user' && message.role === 'user') {
      all[all.length - 1] = { ...last, content: joined(last.content, message.content ?? '') };
    } else all.push(message);
  }
  return all;
}

function joined(first: string | null, second: string, between = '\n\n'): string {
  return first ? `${first}${between}${second}` : second;
}

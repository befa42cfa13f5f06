import type { AnswerDelta, ToolCall } from '../answer.ts';
import type { OutputToken } from '../choice.ts';
import type { TextCodec } from '../codec.ts';
import type { AnswerEvent } from '../parts.ts';
import type { ParsedRequest } from '../requests/parsed-request.ts';
import type { ChatChoice, ChatChunkChoice, ChatChunkCall, ChatLogprobs } from '../response-schema.ts';
import {
  type AnswerShape,
  chunkWriter,
  DONE,
  namedLogprobs,
  nameIn,
  promptIdsField,
  promptLogprobsField,
  type ShapeContext,
  shoalField,
  stopReason,
  type StreamShape,
  tokenIdsField,
} from './shape.ts';

/** OpenAI's chat completions. */
export const chatShape: AnswerShape = {
  idPrefix: 'chatcmpl-',
  whole: ({ head, parsed, codec }, choices, usage) => ({
    ...head,
    object: 'chat.completion',
    // In vLLM's chat answers they are beside the choices, which all have the same prompt.
    ...promptIdsField(0, parsed),
    ...promptLogprobsField(choices[0]!, codec),
    choices: choices.map(({ index, answer }): ChatChoice => {
      const { content, reasoning, calls } = answer;
      return {
        index,
        message: {
          role: 'assistant',
          // Beside calls, OpenAI has null where there is no text.
          content: content === '' && calls.length > 0 ? null : content,
          refusal: null,
          ...(reasoning !== '' && { reasoning_content: reasoning }),
          ...(calls.length > 0 && { tool_calls: calls.map(callOf) }),
        },
        logprobs: chatLogprobs(answer.tokens, parsed, codec),
        finish_reason: answer.end.reason,
        ...stopReason(answer),
        ...tokenIdsField(answer.tokens, parsed),
        ...shoalField(answer, parsed),
      };
    }),
    usage,
  }),
  stream: (context) => chatStream(context),
};

function callOf({ id, name, arguments: text }: ToolCall) {
  return { id, type: 'function' as const, function: { name, arguments: text } };
}

function chatStream(context: ShapeContext): StreamShape {
  const { parsed, head } = context;
  const object = 'chat.completion.chunk';
  const chunk = chunkWriter(context, object);
  const none = () => ({ prompt_tokens: 0, completion_tokens: 0, total_tokens: 0 });
  return {
    open: (choices, promptTokens) =>
      Array.from({ length: choices }, (_, index) => {
        const first: ChatChunkChoice = {
          index,
          delta: { role: 'assistant', content: '' },
          logprobs: null,
          finish_reason: null,
        };
        const usage = () => ({ ...none(), prompt_tokens: promptTokens, total_tokens: promptTokens });
        return chunk([first], usage, index === 0 ? promptIdsField(0, parsed) : {});
      }),
    delta(index, delta, usage) {
      const choice = chunkChoice(index, delta, context);
      return choice ? [chunk([choice], usage)] : [];
    },
    close: (usage) => [...(parsed.includeUsage ? [{ data: { ...head, object, choices: [], usage } }] : []), DONE],
    fail: (error) => [{ data: error.body }],
  };
}

function chunkChoice(index: number, delta: AnswerDelta, { parsed, codec }: ShapeContext): ChatChunkChoice | undefined {
  const { events, tokens, end } = delta;
  if (end) return { index, delta: {}, logprobs: null, finish_reason: end.reason, ...stopReason(delta) };
  const logprobs = tokens.length > 0 ? chatLogprobs(tokens, parsed, codec) : null;
  const isTraced = tokens.length > 0 && parsed.generation.trace;
  const ids = tokens.length > 0 ? tokenIdsField(tokens, parsed) : {};
  if (events.length === 0 && !logprobs && !isTraced && !ids.token_ids) return undefined;
  const shoal = shoalField(delta, parsed);
  return { index, delta: chunkDelta(events), logprobs, finish_reason: null, ...ids, ...shoal };
}

function chunkDelta(events: readonly AnswerEvent[]): ChatChunkChoice['delta'] {
  const textOf = (type: 'content' | 'reasoning'): string =>
    events.map((event) => (event.type === type ? event.text : '')).join('');
  const [content, reasoning] = [textOf('content'), textOf('reasoning')];
  const calls = chunkCalls(events);
  return {
    ...(reasoning !== '' && { reasoning_content: reasoning }),
    ...((content !== '' || (reasoning === '' && calls.length === 0)) && { content }),
    ...(calls.length > 0 && { tool_calls: calls }),
  };
}

/** One entry for each call: its beginning, or a piece of its arguments, or both. */
function chunkCalls(events: readonly AnswerEvent[]): ChatChunkCall[] {
  const calls = new Map<number, ChatChunkCall>();
  for (const event of events) {
    if (event.type === 'call') {
      const { index, id, name } = event;
      calls.set(index, { index, id, type: 'function', function: { name, arguments: '' } });
    } else if (event.type === 'arguments') {
      const { index, text } = event;
      const begun = calls.get(index);
      if (begun) begun.function.arguments += text;
      else calls.set(index, { index, function: { arguments: text } });
    }
  }
  return [...calls.values()];
}

function chatLogprobs(tokens: readonly OutputToken[], parsed: ParsedRequest, codec: TextCodec): ChatLogprobs | null {
  if (parsed.topLogprobs === undefined) return null;
  const nameOf = nameIn(parsed, codec);
  return { content: tokens.map((token) => namedLogprobs(token, codec, nameOf)), refusal: null };
}

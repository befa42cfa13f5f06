import type { AnswerEnd } from '../answer.ts';
import { callArguments } from '../call-arguments.ts';
import { type AnswerPart, type PartEvent, PartSplitter } from '../parts.ts';
import type { Usage } from '../response-schema.ts';
import type { AnswerShape, ServerEvent, ShapeContext, StreamShape } from '../shapes/shape.ts';
import type { Message, MessageBlock, MessageUsage } from './documents.ts';
import { messagesError } from './error.ts';

/** Anthropic's messages. */
export const messagesShape = (requestId: string): AnswerShape => ({
  idPrefix: 'msg_',
  whole: (context, [choice], usage) => ({
    ...emptyMessage(context, usageOf(usage)),
    content: wholeBlocks(choice!.answer.parts),
    ...stopOf(choice!.answer.end),
  }),
  stream: (context) => messageStream(context, requestId),
});

function emptyMessage({ head: { id, model } }: ShapeContext, usage: MessageUsage): Message {
  const none = { stop_reason: null, stop_sequence: null, stop_details: null, container: null };
  return { id, type: 'message', role: 'assistant', model, content: [], ...none, usage };
}

function usageOf({ prompt_tokens: input, completion_tokens: output, completion_tokens_details: details }: Usage) {
  return {
    input_tokens: input,
    output_tokens: output,
    cache_creation_input_tokens: 0,
    cache_read_input_tokens: 0,
    output_tokens_details: { thinking_tokens: details?.reasoning_tokens ?? 0 },
  };
}

function stopOf({ reason, stop }: AnswerEnd): Pick<Message, 'stop_reason' | 'stop_sequence'> {
  if (reason === 'length') return { stop_reason: 'max_tokens', stop_sequence: null };
  if (reason === 'tool_calls') return { stop_reason: 'tool_use', stop_sequence: null };
  // A number is a token that ended the answer, which is the end of the turn.
  if (typeof stop === 'string') return { stop_reason: 'stop_sequence', stop_sequence: stop };
  return { stop_reason: 'end_turn', stop_sequence: null };
}

/** An answer without anything has a block without text, since programs read the first. */
const EMPTY_PART: AnswerPart = { type: 'content', text: '', tokens: [] };

function wholeBlocks(parts: readonly AnswerPart[]): MessageBlock[] {
  return (parts.length === 0 ? [EMPTY_PART] : parts).map(wholeBlock);
}

function wholeBlock(part: AnswerPart): MessageBlock {
  const block = emptyBlock(part);
  switch (block.type) {
    case 'tool_use':
      // A call that was cut off has no input; the stop reason tells that.
      return { ...block, input: callArguments((part as { arguments: string }).arguments) ?? {} };
    case 'thinking':
      return { ...block, thinking: (part as { text: string }).text };
    case 'text':
      return { ...block, text: (part as { text: string }).text };
    default:
      return block satisfies never;
  }
}

function emptyBlock(part: AnswerPart): MessageBlock {
  switch (part.type) {
    case 'content':
      // Without `citations`: some clients take only a list there, and others only null.
      return { type: 'text', text: '' };
    case 'reasoning':
      return { type: 'thinking', thinking: '', signature: '' };
    case 'call': {
      // Models' own ids stay, since their templates know them again.
      const id = part.id.replace(/^call_/, 'toolu_');
      return { type: 'tool_use', id, name: part.name, input: {}, caller: { type: 'direct' } };
    }
    default:
      return part satisfies never;
  }
}

const EMPTY_EVENTS: readonly PartEvent[] = [
  { type: 'open', index: 0, part: EMPTY_PART },
  { type: 'close', index: 0, part: EMPTY_PART },
];

function messageStream(context: ShapeContext, requestId: string): StreamShape {
  const splitter = new PartSplitter();
  let end: AnswerEnd = { reason: 'stop' };
  const blocks = (events: readonly PartEvent[]): ServerEvent[] => events.flatMap(blockEvents);
  return {
    open: (_choices, promptTokens) => {
      const none = { prompt_tokens: promptTokens, completion_tokens: 0, total_tokens: promptTokens };
      return [named('message_start', { message: emptyMessage(context, usageOf(none)) }), named('ping', {})];
    },
    delta(_index, delta) {
      if (delta.end) end = delta.end;
      return blocks(splitter.push(delta.events, []));
    },
    close: (usage) => [
      ...blocks(splitter.parts.length === 0 ? EMPTY_EVENTS : splitter.finish()),
      named('message_delta', { delta: { ...stopOf(end), stop_details: null, container: null }, usage: usageOf(usage) }),
      named('message_stop', {}),
    ],
    fail: (error) => [{ name: 'error', data: messagesError(error, requestId) }],
  };
}

function blockEvents(event: PartEvent): ServerEvent[] {
  const { index, part } = event;
  const delta = (of: object): ServerEvent => named('content_block_delta', { index, delta: of });
  switch (event.type) {
    case 'open':
      return [named('content_block_start', { index, content_block: emptyBlock(part) })];
    case 'more':
      if (part.type === 'content') return [delta({ type: 'text_delta', text: event.text })];
      if (part.type === 'reasoning') return [delta({ type: 'thinking_delta', thinking: event.text })];
      return [delta({ type: 'input_json_delta', partial_json: event.text })];
    case 'close':
      return [
        ...(part.type === 'reasoning' ? [delta({ type: 'signature_delta', signature: '' })] : []),
        named('content_block_stop', { index }),
      ];
    default:
      return event satisfies never;
  }
}

function named(name: string, data: object): ServerEvent {
  return { name, data: { type: name, ...data } };
}

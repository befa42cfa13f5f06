import type { Reading } from './answer-input.ts';
import type { AnswerIo } from './answer-io.ts';
import { AnswerParser } from './answer-parser.ts';
import { forcedCalls } from './build-convention.ts';
import type { Convention } from './convention.ts';
import { readJson } from './read-json.ts';
import { argumentsSchema } from './tool-arguments.ts';

const START = '<|start|>';
const CHANNEL = '<|channel|>';
const MESSAGE = '<|message|>';
const CONSTRAIN = '<|constrain|>';
const END = '<|end|>';
const ENDS = [END, '<|return|>', '<|call|>', START];

/**
 * OpenAI's gpt-oss: messages with a header that names a channel (analysis is reasoning, commentary goes to a tool or announces
 * calls, final is the answer) and a recipient.
 */
export const harmony: Convention = {
  name: 'harmony',
  reasons: true,
  // The model chooses its channel itself; a grammar chooses it instead.
  reasoningEnd: undefined,
  stopTokens: ['<|call|>', '<|return|>'],
  answerPrefix: `${CHANNEL}final${MESSAGE}`,
  startsInReasoning: (tail) => {
    const { header, isBody } = openMessage(tail);
    return isBody && kindOf(header) === 'reasoning';
  },
  optionalReasoning: (tail) =>
    openMessage(tail).isBody
      ? []
      : [{ optional: [`${CHANNEL}analysis${MESSAGE}`, { until: END }, `${START}assistant`] }],
  newParser: (options) => new AnswerParser(options, (io) => readMessages(io, options.tail)),
  forcedCalls: (tools) =>
    forcedCalls(
      {
        isSingle: true,
        forcedCall: (tool) => [
          `${CHANNEL}commentary to=functions.${tool.name} ${CONSTRAIN}json${MESSAGE}`,
          { schema: argumentsSchema(tool) },
          '<|call|>',
        ],
      },
      tools,
      1,
    ),
};

/** The message that a prompt leaves open: its header so far, and whether its body has begun. */
function openMessage(tail: string): { header: string; isBody: boolean } {
  const last = tail.slice(tail.lastIndexOf(START));
  const at = last.indexOf(MESSAGE);
  const isBody = at >= 0 && !ENDS.some((end) => end !== START && last.includes(end));
  return { header: isBody ? last.slice(0, at) : '', isBody };
}

const recipientOf = (header: string): string | undefined => /\bto=([^\s<]+)/.exec(header)?.[1];

function kindOf(header: string): 'reasoning' | 'content' | 'call' {
  const recipient = recipientOf(header);
  // The model's built-in tools, which nobody runs here, belong to its thoughts.
  if (recipient !== undefined) return recipient.startsWith('functions.') ? 'call' : 'reasoning';
  return header.includes(`${CHANNEL}analysis`) ? 'reasoning' : 'content';
}

function* readMessages(io: AnswerIo, tail: string): Reading<void> {
  const { input } = io;
  const open = openMessage(tail);
  let end: string | undefined;
  if (open.isBody) end = yield* readBody(io, open.header);
  // The prompt ends with the role, after which a header goes on.
  else if (yield* input.tryText(CHANNEL)) end = yield* readMessage(io, CHANNEL);
  else if ((yield* input.tryText(' to=')) || (yield* input.tryText('to='))) end = yield* readMessage(io, 'to=');
  else end = yield* readBody(io, '');
  while (end !== undefined) {
    // Text between messages belongs to none of them; models write white space there, if anything.
    const next = end === START ? START : yield* input.until([START, CHANNEL], () => undefined);
    end = next === undefined ? undefined : yield* readMessage(io, next === CHANNEL ? CHANNEL : '');
  }
}

/** Reads a message from within its header; what ended it. */
function* readMessage(io: AnswerIo, begin: string): Reading<string | undefined> {
  let header = begin;
  for (;;) {
    const marker = yield* io.input.until([MESSAGE, CHANNEL, CONSTRAIN, ...ENDS], (text) => (header += text));
    if (marker === MESSAGE) return yield* readBody(io, header);
    if (marker !== CHANNEL && marker !== CONSTRAIN) return marker;
    header += marker;
  }
}

function* readBody(io: AnswerIo, header: string): Reading<string | undefined> {
  const { input, events } = io;
  const kind = kindOf(header);
  if (kind === 'reasoning') {
    const end = yield* input.until(ENDS, (text) => events.reasoning(text));
    events.endReasoning();
    return end;
  }
  if (kind === 'content' || io.tools.length === 0) return yield* input.until(ENDS, (text) => events.content(text));
  events.call(recipientOf(header)!.slice('functions.'.length));
  return yield* readArguments(io);
}

/** Reads arguments; what is no JSON is handed on as it is. */
function* readArguments({ input, events }: AnswerIo): Reading<string | undefined> {
  yield* input.skipSpace();
  input.record('');
  let isEmpty = true;
  const onText = (text: string): void => {
    isEmpty = false;
    events.arguments(text);
  };
  const outcome = yield* readJson(input, onText);
  const end = yield* input.until(ENDS, outcome === 'whole' ? (): void => undefined : onText);
  const text = input.takeRecord();
  if (outcome === 'whole' || (isEmpty && end !== undefined)) events.endCall();
  else events.breakCall(text, end === undefined);
  return end;
}

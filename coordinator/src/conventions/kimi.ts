import type { Reading } from './answer-input.ts';
import type { AnswerIo, CallOutcome } from './answer-io.ts';
import type { CallStyle } from './build-convention.ts';
import { readHeadedCall, readHeader, tryNext } from './headed-calls.ts';
import { argumentsSchema } from './tool-arguments.ts';

const BEGIN = '<|tool_calls_section_begin|>';
const END = '<|tool_calls_section_end|>';
const CALL_BEGIN = '<|tool_call_begin|>';
const CALL_END = '<|tool_call_end|>';
const ARGUMENTS = '<|tool_call_argument_begin|>';

/** Moonshot's Kimi K2, whose ids are `functions.NAME:INDEX`. */
export const kimi: CallStyle = {
  name: 'kimi_k2',
  format: { openers: [BEGIN, CALL_BEGIN], closers: [END, CALL_END], readCalls },
  forcedCall: (tool) => [
    `${CALL_BEGIN}functions.${tool.name}:`,
    // The model counts the calls of a conversation.
    { schema: { type: 'integer', minimum: 0, maximum: 9_999 } },
    ARGUMENTS,
    { schema: argumentsSchema(tool) },
    CALL_END,
  ],
  around: { separator: '', before: BEGIN, after: END },
};

function* readCalls(io: AnswerIo, opener: string): Reading<CallOutcome> {
  if (opener === BEGIN && !(yield* tryNext(io, CALL_BEGIN))) return 'none';
  const id = yield* readHeader(io);
  if (id === undefined || !(yield* tryNext(io, ARGUMENTS))) return 'none';
  const name = id.replace(/^functions\./, '').replace(/:\d+$/, '');
  if (name === '') return 'none';
  const outcome = yield* readHeadedCall(io, name, id);
  if (outcome === 'whole') yield* tryNext(io, CALL_END);
  return outcome;
}

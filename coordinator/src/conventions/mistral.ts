import type { Reading } from './answer-input.ts';
import type { AnswerIo, CallOutcome } from './answer-io.ts';
import type { CallStyle } from './build-convention.ts';
import { readHeadedCall, readHeader, tryNext } from './headed-calls.ts';
import { readJsonCalls } from './json-calls.ts';
import { argumentsSchema } from './tool-arguments.ts';

const OPEN = '[TOOL_CALLS]';
const ARGUMENTS = '[ARGS]';
const CALL_ID = '[CALL_ID]';

/** `[TOOL_CALLS]name[ARGS]{…}`: Mistral's models since 2025. */
export const mistral: CallStyle = {
  name: 'mistral',
  format: { openers: [OPEN], closers: [], readCalls },
  forcedCall: (tool) => [`${OPEN}${tool.name}${ARGUMENTS}`, { schema: argumentsSchema(tool) }],
  around: { separator: '' },
};

/** `[TOOL_CALLS] [{"name": …, "arguments": {…}}]`: earlier ones. Either is read. */
export const mistralJson: CallStyle = {
  name: 'mistral_json',
  format: mistral.format,
  forcedCall: (tool) => [
    `{"name": ${JSON.stringify(tool.name)}, "arguments": `,
    { schema: argumentsSchema(tool) },
    '}',
  ],
  around: { separator: ', ', before: `${OPEN} [`, after: ']' },
};

function* readCalls(io: AnswerIo): Reading<CallOutcome> {
  yield* io.input.skipSpace();
  const next = yield* io.input.peek();
  if (next === '[' || next === '{') return yield* readJsonCalls(io);
  const name = yield* readHeader(io);
  if (name === undefined) return 'none';
  const id = (yield* tryNext(io, CALL_ID)) ? yield* readHeader(io) : undefined;
  // The first models of this kind put the arguments right after the name.
  if (!(yield* tryNext(io, ARGUMENTS)) && (yield* io.input.peek()) !== '{') return 'none';
  return yield* readHeadedCall(io, name, id);
}

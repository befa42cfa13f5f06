import type { Reading } from './answer-input.ts';
import type { AnswerIo, CallOutcome } from './answer-io.ts';
import type { CallStyle } from './build-convention.ts';
import { readHeadedCall, readHeader, tryNext } from './headed-calls.ts';
import { argumentsSchema } from './tool-arguments.ts';

const BEGIN = '<｜tool▁calls▁begin｜>';
const END = '<｜tool▁calls▁end｜>';
const CALL_BEGIN = '<｜tool▁call▁begin｜>';
const CALL_END = '<｜tool▁call▁end｜>';
const SEPARATOR = '<｜tool▁sep｜>';
const FENCE = '```';

/** V3 and R1 write a type before the name, and the arguments in a fenced block; V3.1 does not. Either is read. */
function deepseekStyle(name: string, isFenced: boolean): CallStyle {
  const [open, close] = isFenced ? [`function${SEPARATOR}`, `\n${FENCE}`] : ['', ''];
  return {
    name,
    format: { openers: [BEGIN, CALL_BEGIN], closers: [END, CALL_END], readCalls },
    forcedCall: (tool) => [
      `${CALL_BEGIN}${open}${tool.name}${isFenced ? `\n${FENCE}json\n` : SEPARATOR}`,
      { schema: argumentsSchema(tool) },
      `${close}${CALL_END}`,
    ],
    around: { separator: isFenced ? '\n' : '', before: BEGIN, after: END },
  };
}

export const deepseekV3 = deepseekStyle('deepseek_v3', true);
export const deepseekV31 = deepseekStyle('deepseek_v31', false);

function* readCalls(io: AnswerIo, opener: string): Reading<CallOutcome> {
  if (opener === BEGIN && !(yield* tryNext(io, CALL_BEGIN))) return 'none';
  let name = yield* readHeader(io);
  if (name === undefined || !(yield* tryNext(io, SEPARATOR))) return 'none';
  yield* io.input.skipSpace();
  const isFenced = (yield* io.input.peek()) !== '{';
  if (isFenced) {
    name = yield* readHeader(io);
    if (name === undefined) return 'none';
    // The language is not always there.
    if (yield* tryNext(io, FENCE)) yield* io.input.tryText('json');
  }
  const outcome = yield* readHeadedCall(io, name);
  if (outcome !== 'whole') return outcome;
  if (isFenced) yield* tryNext(io, FENCE);
  yield* tryNext(io, CALL_END);
  return 'whole';
}

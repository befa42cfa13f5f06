import type { Reading } from './answer-input.ts';
import type { AnswerIo, CallOutcome } from './answer-io.ts';
import { argumentsSchema, type CallStyle } from './build-convention.ts';
import { readJsonCalls } from './json-calls.ts';

/** `{"name": …, "arguments": {…}}` between these tags. */
function jsonStyle(name: string, open: string, close: string): CallStyle {
  function* readCalls(io: AnswerIo): Reading<CallOutcome> {
    const outcome = yield* readJsonCalls(io);
    if (outcome === 'whole') yield* io.input.tryText(close);
    return outcome;
  }
  return {
    name,
    format: { openers: [open], closers: [close], readCalls },
    forcedCall: (tool) => [
      `${open}\n{"name": ${JSON.stringify(tool.name)}, "arguments": `,
      { schema: argumentsSchema(tool) },
      `}\n${close}`,
    ],
  };
}

/** Hermes, Qwen 2.5 and 3, Granite 4 and others. */
export const hermes = jsonStyle('hermes', '<tool_call>', '</tool_call>');
/** MiniMax-M1. */
export const minimaxM1 = jsonStyle('minimax_m1', '<tool_calls>', '</tool_calls>');

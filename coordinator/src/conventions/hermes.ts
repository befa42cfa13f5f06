import type { Reading } from './answer-input.ts';
import type { AnswerIo, CallOutcome } from './answer-io.ts';
import type { CallStyle } from './build-convention.ts';
import { readJsonCalls, writeJsonCall } from './json-calls.ts';
import { argumentsSchema } from './tool-arguments.ts';

/** `{"name": …, "arguments": {…}}` between these tags; without a closing one, a list of them. */
function jsonStyle(name: string, open: string, close = ''): CallStyle {
  function* readCalls(io: AnswerIo): Reading<CallOutcome> {
    const outcome = yield* readJsonCalls(io);
    if (outcome === 'whole') yield* io.input.tryText(close);
    return outcome;
  }
  const [before, after] = close === '' ? ['', ''] : [`${open}\n`, `\n${close}`];
  return {
    name,
    format: { openers: [open], closers: close === '' ? [] : [close], readCalls },
    forcedCall: (tool) => [
      `${before}{"name": ${JSON.stringify(tool.name)}, "arguments": `,
      { schema: argumentsSchema(tool) },
      `}${after}`,
    ],
    ...(close === ''
      ? {
          around: { separator: ', ', before: `${open}[`, after: ']' },
          writeCalls: (calls) => `${open}[${calls.map(writeJsonCall).join(', ')}]`,
        }
      : {}),
  };
}

/** Hermes, Qwen 2.5 and 3, Granite 4 and others. */
export const hermes = jsonStyle('hermes', '<tool_call>', '</tool_call>');
/** MiniMax-M1. */
export const minimaxM1 = jsonStyle('minimax_m1', '<tool_calls>', '</tool_calls>');
/** Granite 3. */
export const granite = jsonStyle('granite', '<|tool_call|>');
/** GigaChat 3, which makes one call at a time. */
export const gigachat: CallStyle = {
  ...jsonStyle('gigachat3', '<|function_call|>'),
  around: { separator: '', before: '<|function_call|>' },
  isSingle: true,
};

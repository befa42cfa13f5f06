import type { Reading } from './answer-input.ts';
import type { AnswerIo, CallOutcome } from './answer-io.ts';
import { argumentsSchema, type CallStyle } from './build-convention.ts';
import { readJsonCalls } from './json-calls.ts';

const OPEN = '<tool_call>';
const CLOSE = '</tool_call>';

/** `<tool_call>{"name": …, "arguments": {…}}</tool_call>`: Hermes, Qwen 2.5 and 3, Granite 4 and others. */
export const hermes: CallStyle = {
  name: 'hermes',
  format: { openers: [OPEN], closers: [CLOSE], readCalls },
  forcedCall: (tool) => [
    `${OPEN}\n{"name": ${JSON.stringify(tool.name)}, "arguments": `,
    { schema: argumentsSchema(tool) },
    `}\n${CLOSE}`,
  ],
};

function* readCalls(io: AnswerIo): Reading<CallOutcome> {
  const outcome = yield* readJsonCalls(io);
  if (outcome === 'whole') yield* io.input.tryText(CLOSE);
  return outcome;
}

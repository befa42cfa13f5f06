import type { Reading } from './answer-input.ts';
import type { AnswerIo, CallOutcome } from './answer-io.ts';
import type { CallStyle } from './build-convention.ts';
import { readJsonCalls } from './json-calls.ts';
import { pythonicCall, readPythonicCalls, writePythonicCalls } from './pythonic.ts';
import { argumentsSchema } from './tool-arguments.ts';

const PYTHON_TAG = '<|python_tag|>';
/** Ends a turn that waits for a tool. */
const STOP_TOKENS = ['<|eom_id|>', '<|eot_id|>'];

/** `{"name": …, "parameters": {…}}` as the whole answer: Llama 3.1 and later. */
export const llamaJson: CallStyle = {
  name: 'llama3_json',
  format: { openers: [PYTHON_TAG], closers: [], readCalls: readTagged, readBare: readOwn },
  forcedCall: (tool) => [
    `{"name": ${JSON.stringify(tool.name)}, "parameters": `,
    { schema: argumentsSchema(tool) },
    '}',
  ],
  around: { separator: '; ' },
  stopTokens: STOP_TOKENS,
};

function* readTagged(io: AnswerIo): Reading<CallOutcome> {
  return yield* readJsonCalls(io);
}

/** Without a marker, an object is a call only if it names a tool. */
function* readOwn(io: AnswerIo): Reading<CallOutcome> {
  return yield* readJsonCalls(io, (name) => io.tools.some((tool) => tool.name === name));
}

/** `[name(argument="value")]` as the whole answer: Llama 3.2 and 4. */
export const pythonic: CallStyle = {
  name: 'pythonic',
  format: { openers: [PYTHON_TAG], closers: [], readCalls: readPythonicCalls, readBare: readPythonicCalls },
  forcedCall: pythonicCall,
  around: { separator: ', ', before: '[', after: ']' },
  stopTokens: STOP_TOKENS,
};

/** The same between tags: LFM 2. */
export const lfm2: CallStyle = {
  name: 'lfm2',
  format: {
    openers: ['<|tool_call_start|>'],
    closers: ['<|tool_call_end|>'],
    readCalls: function* (io): Reading<CallOutcome> {
      const outcome = yield* readPythonicCalls(io);
      if (outcome === 'whole') yield* io.input.tryText('<|tool_call_end|>');
      return outcome;
    },
  },
  forcedCall: pythonicCall,
  around: { separator: ', ', before: '<|tool_call_start|>[', after: ']<|tool_call_end|>' },
  writeCalls: (calls) => `<|tool_call_start|>${writePythonicCalls(calls)}<|tool_call_end|>`,
};

import type { Reading } from './answer-input.ts';
import type { AnswerIo, CallOutcome } from './answer-io.ts';
import type { CallStyle } from './build-convention.ts';
import { readTaggedCall, type TaggedForm } from './tagged-calls.ts';
import { taggedCall } from './tagged-grammar.ts';

const FORM: TaggedForm = {
  callOpen: '<tool_call>',
  nameEnd: '',
  callClose: '</tool_call>',
  keyOpen: '<arg_key>',
  keyEnd: '</arg_key>',
  valueOpen: '<arg_value>',
  valueClose: '</arg_value>',
};

/** `<tool_call>name<arg_key>…</arg_key><arg_value>…</arg_value></tool_call>`: GLM 4.5 and later. */
export const glm: CallStyle = {
  name: 'glm45',
  format: { openers: [FORM.callOpen], closers: [FORM.callClose], readCalls },
  forcedCall: (tool) => taggedCall(tool, FORM, ''),
  stopTokens: ['<|observation|>', '<|user|>'],
};

function* readCalls(io: AnswerIo): Reading<CallOutcome> {
  return yield* readTaggedCall(io, FORM);
}

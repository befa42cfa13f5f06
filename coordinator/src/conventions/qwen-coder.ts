import type { Reading } from './answer-input.ts';
import type { AnswerIo, CallOutcome } from './answer-io.ts';
import type { CallStyle } from './build-convention.ts';
import { readJsonCalls } from './json-calls.ts';
import { readTaggedCalls, type TaggedForm } from './tagged-calls.ts';
import { taggedCall } from './tagged-grammar.ts';

const FORM: TaggedForm = {
  callOpen: '<function=',
  nameEnd: '>',
  callClose: '</function>',
  keyOpen: '<parameter=',
  keyEnd: '>',
  valueClose: '</parameter>',
};

/** `<function=…><parameter=…>` in a block of this tag. */
function functionStyle(name: string, tag: string, ownLines: boolean): CallStyle {
  const form = { ...FORM, ownLines };
  const [open, close] = [`<${tag}>`, `</${tag}>`];
  function* readCalls(io: AnswerIo, opener: string): Reading<CallOutcome> {
    const { input } = io;
    if (opener === FORM.callOpen) input.unread(opener);
    else yield* input.skipSpace();
    // The same models write the JSON of their predecessors now and then.
    const isJson = (yield* input.peek()) === '{';
    const outcome = yield* isJson ? readJsonCalls(io) : readTaggedCalls(io, form);
    if (outcome === 'whole') yield* input.tryText(close);
    return outcome;
  }
  return {
    name,
    format: { openers: [open, FORM.callOpen], closers: [close, FORM.callClose], readCalls },
    forcedCall: (tool) => [`${open}\n`, ...taggedCall(tool, form, '\n'), `\n${close}`],
  };
}

/** Qwen3-Coder, Qwen 3.5 and others. */
export const qwenCoder = functionStyle('qwen3_coder', 'tool_call', true);
/** ByteDance's Seed-OSS. */
export const seedOss = functionStyle('seed_oss', 'seed:tool_call', false);

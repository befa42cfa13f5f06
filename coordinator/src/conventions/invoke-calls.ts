import type { Reading } from './answer-input.ts';
import type { AnswerIo, CallOutcome } from './answer-io.ts';
import type { CallStyle } from './build-convention.ts';
import { readTaggedCalls, type TaggedForm } from './tagged-calls.ts';
import { taggedCall } from './tagged-grammar.ts';

/** `<invoke name="…"><parameter name="…">…` in a block of one of these tags; `tag` writes a tag's name as the model does. */
function invokeStyle(
  name: string,
  blocks: readonly string[],
  tag: (name: string) => string,
  kinds?: TaggedForm['kinds'],
): CallStyle {
  const form: TaggedForm = {
    callOpen: `<${tag('invoke')} name="`,
    nameEnd: '">',
    callClose: `</${tag('invoke')}>`,
    keyOpen: `<${tag('parameter')} name="`,
    keyEnd: kinds ? '"' : '">',
    valueClose: `</${tag('parameter')}>`,
    ...(kinds ? { kinds } : {}),
  };
  const openers = blocks.map((block) => `<${block}>`);
  const closers = blocks.map((block) => `</${block}>`);
  function* readCalls(io: AnswerIo): Reading<CallOutcome> {
    const outcome = yield* readTaggedCalls(io, form);
    if (outcome === 'whole') for (const closer of closers) yield* io.input.tryText(closer);
    return outcome;
  }
  return {
    name,
    format: { openers, closers, readCalls },
    forcedCall: (tool) => taggedCall(tool, form, '\n'),
    around: { separator: '\n', before: `${openers[0]}\n`, after: `\n${closers[0]}` },
  };
}

/** MiniMax-M2. */
export const minimaxM2 = invokeStyle('minimax_m2', ['minimax:tool_call'], (name) => name);

const DSML_KINDS = { text: ' string="true">', json: ' string="false">' };
const dsml = (name: string): string => `｜DSML｜${name}`;

/** DeepSeek-V3.2. */
export const deepseekV32 = invokeStyle('deepseek_v32', [dsml('function_calls')], dsml, DSML_KINDS);
/** DeepSeek-V4. */
export const deepseekV4 = invokeStyle('deepseek_v4', [dsml('tool_calls')], dsml, DSML_KINDS);

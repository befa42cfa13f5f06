import type { TemplateTraits } from '@shoal/model';
import type { ReasoningMarks } from './answer-parser.ts';
import { buildConvention, type CallStyle } from './build-convention.ts';
import type { Convention } from './convention.ts';
import { deepseekV3, deepseekV31 } from './deepseek.ts';
import { generic } from './generic.ts';
import { glm } from './glm.ts';
import { harmony } from './harmony.ts';
import { gigachat, granite, hermes, minimaxM1 } from './hermes.ts';
import { deepseekV32, deepseekV4, minimaxM2 } from './invoke-calls.ts';
import { kimi } from './kimi.ts';
import { lfm2, llamaJson, pythonic } from './llama.ts';
import { mistral, mistralJson } from './mistral.ts';
import { qwenCoder, seedOss } from './qwen-coder.ts';

/** What tells a model's convention. */
export interface ModelMarkup {
  /** The chat template's text; undefined if the model has none. */
  template: string | undefined;
  /** What the template can do; undefined: not known. */
  traits?: TemplateTraits | undefined;
}

/** Every style, with what only its templates contain; the first that fits is chosen. */
const STYLES: readonly (readonly [CallStyle, RegExp])[] = [
  [seedOss, /seed:tool_call/],
  [minimaxM2, /minimax:tool_call/],
  [kimi, /<\|tool_calls_section_begin\|>/],
  // A template may put the names together from parts.
  [deepseekV4, /｜DSML｜[^]*tool_calls>/],
  [deepseekV32, /｜DSML｜/],
  [deepseekV3, /<｜tool▁sep｜>[^]*```json/],
  [deepseekV31, /<｜tool▁sep｜>/],
  [mistral, /\[TOOL_CALLS\][^]*\[ARGS\]/],
  [mistralJson, /\[TOOL_CALLS\]/],
  [glm, /<arg_key>/],
  [qwenCoder, /<function=/],
  [minimaxM1, /<tool_calls>/],
  [lfm2, /<\|tool_(call|list)_start\|>/],
  [granite, /<\|tool_call\|>/],
  [gigachat, /<\|function_call\|>/],
  [hermes, /<tool_call>[^]*\\?"name\\?":/],
  [llamaJson, /<\|python_tag\|>|"name": function name, "parameters"/],
  [pythonic, /\[func_name\d?\(/],
  [generic, /^/],
];

/** The names that an operator may choose among. */
export const CONVENTION_NAMES: readonly string[] = [harmony.name, ...STYLES.map(([style]) => style.name)];

/**
 * The convention that a model's template shows. One that does not print tools leaves it to the generic convention to describe
 * them, whatever it prints of calls.
 */
export function chooseConvention({ template = '', traits }: ModelMarkup): Convention {
  if (template.includes('<|channel|>analysis')) return harmony;
  const known = traits?.tools === false ? generic : STYLES.find(([, pattern]) => pattern.test(template))?.[0];
  const style = known ?? generic;
  return buildConvention(style, reasoningMarks(template));
}

/** A convention by its name; the template still tells how reasoning is marked off. Throws for an unknown name. */
export function conventionByName(name: string, { template = '' }: ModelMarkup): Convention {
  if (name === harmony.name) return harmony;
  const found = STYLES.find(([style]) => style.name === name);
  if (found) return buildConvention(found[0], reasoningMarks(template));
  throw new Error(`no convention is called ${JSON.stringify(name)}; there are ${CONVENTION_NAMES.join(', ')}`);
}

const REASONING_MARKS: readonly ReasoningMarks[] = [
  { open: '<seed:think>', close: '</seed:think>' },
  { open: '<mm:think>', close: '</mm:think>' },
  { open: '[THINK]', close: '[/THINK]' },
  // Kimi's models call tools from within.
  { open: '<think>', close: '</think>', alsoEndsAt: ['<|tool_calls_section_begin|>'] },
];

function reasoningMarks(template: string): ReasoningMarks | undefined {
  return REASONING_MARKS.find(({ close }) => template.includes(close));
}

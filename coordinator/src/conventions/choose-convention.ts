import type { ReasoningMarks } from './answer-parser.ts';
import { buildConvention, type CallStyle } from './build-convention.ts';
import type { Convention } from './convention.ts';
import { generic } from './generic.ts';
import { hermes } from './hermes.ts';

/** What tells a model's convention. */
export interface ModelMarkup {
  /** The chat template's text; undefined if the model has none. */
  template: string | undefined;
}

const STYLES: readonly CallStyle[] = [hermes, generic];

/** The names that an operator may choose among. */
export const CONVENTION_NAMES: readonly string[] = STYLES.map((style) => style.name);

/** The convention that a model's template shows. */
export function chooseConvention({ template = '' }: ModelMarkup): Convention {
  const style = /<tool_call>/.test(template) ? hermes : generic;
  return buildConvention(style, reasoningMarks(template));
}

/** A convention by its name; the template still tells how reasoning is marked off. Throws for an unknown name. */
export function conventionByName(name: string, { template = '' }: ModelMarkup): Convention {
  const style = STYLES.find((one) => one.name === name);
  if (!style)
    throw new Error(`no convention is called ${JSON.stringify(name)}; there are ${CONVENTION_NAMES.join(', ')}`);
  return buildConvention(style, reasoningMarks(template));
}

function reasoningMarks(template: string): ReasoningMarks | undefined {
  return template.includes('</think>') ? { open: '<think>', close: '</think>' } : undefined;
}

import type { Convention } from '../../conventions/index.ts';

/** A convention without tool calls and reasoning: all of an answer is content. */
export const plainConvention: Convention = {
  name: 'plain',
  reasons: false,
  reasoningEnd: undefined,
  stopTokens: [],
  answerPrefix: '',
  startsInReasoning: () => false,
  optionalReasoning: () => [],
  newParser: () => ({
    push: (text, isSpecial) => (isSpecial || text === '' ? [] : [{ type: 'content', text }]),
    finish: () => [],
  }),
  forcedCalls: () => ({ kind: 'json-object' }),
};

import type { TokenAnswer } from '@shoal/model';
import type { OutputToken } from '../choice.ts';
import { tokenName, type TextCodec } from '../codec.ts';
import type { CompletionChoice, CompletionLogprobs } from '../response-schema.ts';
import {
  type AnswerShape,
  chunkWriter,
  DONE,
  finite,
  promptLogprobsField,
  type ShapeContext,
  shoalField,
  stopReason,
  type StreamShape,
} from './shape.ts';

/** OpenAI's text completions. */
export const completionShape: AnswerShape = {
  idPrefix: 'cmpl-',
  whole: ({ head, parsed, codec }, choices, usage) => ({
    ...head,
    object: 'text_completion',
    choices: choices.map((choice): CompletionChoice => {
      const { index, answer } = choice;
      return {
        text: answer.content,
        index,
        logprobs: completionLogprobs(answer.tokens, parsed.topLogprobs, codec),
        finish_reason: completionReason(answer.end.reason),
        ...stopReason(answer),
        ...promptLogprobsField(choice, codec),
        ...shoalField(answer, parsed),
      };
    }),
    usage,
  }),
  stream: (context) => completionStream(context),
};

function completionStream(context: ShapeContext): StreamShape {
  const { parsed, codec, head } = context;
  const chunk = chunkWriter(context, 'text_completion');
  return {
    open: () => [],
    delta(index, delta, usage) {
      const { events, tokens, end } = delta;
      if (end) {
        const choice = {
          text: '',
          index,
          logprobs: null,
          finish_reason: completionReason(end.reason),
          ...stopReason(delta),
        };
        return [chunk([choice], usage)];
      }
      const text = events.map((event) => (event.type === 'content' ? event.text : '')).join('');
      const logprobs = completionLogprobs(tokens, parsed.topLogprobs, codec);
      if (text === '' && !logprobs && !parsed.generation.trace) return [];
      return [chunk([{ text, index, logprobs, finish_reason: null, ...shoalField(delta, parsed) }], usage)];
    },
    close: (usage) => [
      ...(parsed.includeUsage ? [{ data: { ...head, object: 'text_completion', choices: [], usage } }] : []),
      DONE,
    ],
    fail: (error) => [{ data: error.body }],
  };
}

function completionReason(reason: 'stop' | 'length' | 'tool_calls'): 'stop' | 'length' {
  return reason === 'length' ? 'length' : 'stop';
}

function completionLogprobs(
  tokens: readonly OutputToken[],
  topLogprobs: number | undefined,
  codec: TextCodec,
): CompletionLogprobs | null {
  if (topLogprobs === undefined) return null;
  return {
    tokens: tokens.map((token) => tokenName(codec, token.tokenId)),
    token_logprobs: tokens.map(({ logprob }) => (logprob === undefined ? null : finite(logprob))),
    top_logprobs: tokens.map((token) => topByName(token, codec)),
    text_offset: tokens.map((token) => token.offset),
  };
}

/** Like OpenAI's, the list has the chosen token even where it is not among the best. The first prompt token has no list. */
function topByName(token: TokenAnswer, codec: TextCodec): Record<string, number> | null {
  const { tokenId, logprob, topLogprobs = [] } = token;
  if (logprob === undefined) return null;
  const listed = [...topLogprobs, { tokenId, logprob }];
  // Not assigned one by one, since a token may be called `__proto__`.
  return Object.fromEntries(listed.map((entry) => [tokenName(codec, entry.tokenId), finite(entry.logprob)]));
}

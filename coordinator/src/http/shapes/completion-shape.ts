import type { TokenAnswer } from '@shoal/model';
import type { OutputToken } from '../choice.ts';
import type { TextCodec } from '../codec.ts';
import type { ParsedRequest } from '../requests/parsed-request.ts';
import type { CompletionChoice, CompletionLogprobs } from '../response-schema.ts';
import {
  type AnswerShape,
  chunkWriter,
  DONE,
  finite,
  nameIn,
  promptIdsField,
  promptLogprobsField,
  type ShapeContext,
  shoalField,
  stopReason,
  type StreamShape,
  tokenIdsField,
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
        logprobs: completionLogprobs(answer.tokens, parsed, codec),
        finish_reason: completionReason(answer.end.reason),
        ...stopReason(answer),
        ...promptIdsField(index, parsed),
        ...tokenIdsField(answer.tokens.slice(echoedTokens(index, parsed)), parsed),
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
  const idsField = streamedIds(parsed);
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
      const logprobs = completionLogprobs(tokens, parsed, codec);
      if (text === '' && !logprobs && !parsed.generation.trace && !parsed.returnsTokenIds) return [];
      const more = { ...idsField(index, tokens), ...shoalField(delta, parsed) };
      return [chunk([{ text, index, logprobs, finish_reason: null, ...more }], usage)];
    },
    close: (usage) => [
      ...(parsed.includeUsage ? [{ data: { ...head, object: 'text_completion', choices: [], usage } }] : []),
      DONE,
    ],
    fail: (error) => [{ data: error.body }],
  };
}

/** Tokens of a choice that repeat its prompt. */
function echoedTokens(index: number, { echo, prompts, n }: ParsedRequest): number {
  return echo ? prompts[Math.floor(index / n)]!.ids.length : 0;
}

/** The ids of a choice's chunks: the prompt's in the first, and in all of them those of their own text. */
function streamedIds(parsed: ParsedRequest) {
  /** Echoed tokens that are still to come, of the choices that have begun. */
  const echoed = new Map<number, number>();
  return (index: number, tokens: readonly OutputToken[]): object => {
    if (!parsed.returnsTokenIds) return {};
    const isFirst = !echoed.has(index);
    const left = echoed.get(index) ?? echoedTokens(index, parsed);
    echoed.set(index, Math.max(0, left - tokens.length));
    return { ...(isFirst && promptIdsField(index, parsed)), ...tokenIdsField(tokens.slice(left), parsed) };
  };
}

function completionReason(reason: 'stop' | 'length' | 'tool_calls'): 'stop' | 'length' {
  return reason === 'length' ? 'length' : 'stop';
}

function completionLogprobs(
  tokens: readonly OutputToken[],
  parsed: ParsedRequest,
  codec: TextCodec,
): CompletionLogprobs | null {
  if (parsed.topLogprobs === undefined) return null;
  const nameOf = nameIn(parsed, codec);
  return {
    tokens: tokens.map((token) => nameOf(token.tokenId)),
    token_logprobs: tokens.map(({ logprob }) => (logprob === undefined ? null : finite(logprob))),
    top_logprobs: tokens.map((token) => topByName(token, nameOf)),
    text_offset: tokens.map((token) => token.offset),
  };
}

/** Like OpenAI's, the list has the chosen token even where it is not among the best. The first prompt token has no list. */
function topByName(token: TokenAnswer, nameOf: (id: number) => string): Record<string, number> | null {
  const { tokenId, logprob, topLogprobs = [] } = token;
  if (logprob === undefined) return null;
  const listed = [...topLogprobs, { tokenId, logprob }];
  // Not assigned one by one, since a token may be called `__proto__`.
  return Object.fromEntries(listed.map((entry) => [nameOf(entry.tokenId), finite(entry.logprob)]));
}

import type { TokenAnswer } from '@shoal/model';
import type { ChoiceDelta } from './choice.ts';
import { tokenName, type TextCodec } from './codec.ts';
import type { ParsedRequest } from './parsed-request.ts';
import type {
  ChatChoice,
  ChatChunkChoice,
  ChatLogprobs,
  CompletionChoice,
  CompletionLogprobs,
  ShoalTokens,
} from './response-schema.ts';

export type ShapeOptions = ParsedRequest['generation'];

/** How an endpoint writes choices. `generate.ts` is the same for both endpoints. */
export interface AnswerShape {
  idPrefix: 'cmpl' | 'chatcmpl';
  object: 'text_completion' | 'chat.completion';
  chunkObject: 'text_completion' | 'chat.completion.chunk';
  /** Sent once per choice, first. */
  firstChunk(index: number): object | undefined;
  chunk(index: number, delta: ChoiceDelta, asked: ShapeOptions, codec: TextCodec): object;
  whole(index: number, deltas: readonly ChoiceDelta[], asked: ShapeOptions, codec: TextCodec): object;
}

export const completionShape: AnswerShape = {
  idPrefix: 'cmpl',
  object: 'text_completion',
  chunkObject: 'text_completion',
  firstChunk: () => undefined,
  chunk: (index, delta, asked, codec): CompletionChoice =>
    delta.finishReason === null
      ? completionChoice(index, delta, asked, codec)
      : { text: '', index, logprobs: null, finish_reason: delta.finishReason },
  whole: (index, deltas, asked, codec) => completionChoice(index, joinDeltas(deltas), asked, codec),
};

export const chatShape: AnswerShape = {
  idPrefix: 'chatcmpl',
  object: 'chat.completion',
  chunkObject: 'chat.completion.chunk',
  firstChunk: (index): ChatChunkChoice => ({
    index,
    delta: { role: 'assistant', content: '' },
    logprobs: null,
    finish_reason: null,
  }),
  chunk: (index, delta, asked, codec): ChatChunkChoice =>
    delta.finishReason === null
      ? {
          index,
          delta: { content: delta.text },
          logprobs: chatLogprobs(delta, asked, codec),
          finish_reason: null,
          ...shoalField(delta, asked),
        }
      : { index, delta: {}, logprobs: null, finish_reason: delta.finishReason },
  whole: (index, deltas, asked, codec): ChatChoice => {
    const delta = joinDeltas(deltas);
    return {
      index,
      message: { role: 'assistant', content: delta.text, refusal: null },
      logprobs: chatLogprobs(delta, asked, codec),
      finish_reason: delta.finishReason,
      ...shoalField(delta, asked),
    };
  },
};

function joinDeltas(deltas: readonly ChoiceDelta[]): ChoiceDelta {
  return {
    text: deltas.map((delta) => delta.text).join(''),
    tokens: deltas.flatMap((delta) => delta.tokens),
    finishReason: deltas.at(-1)?.finishReason ?? null,
  };
}

function completionChoice(index: number, delta: ChoiceDelta, asked: ShapeOptions, codec: TextCodec): CompletionChoice {
  return {
    text: delta.text,
    index,
    logprobs: completionLogprobs(delta, asked, codec),
    finish_reason: delta.finishReason,
    ...shoalField(delta, asked),
  };
}

function completionLogprobs(delta: ChoiceDelta, asked: ShapeOptions, codec: TextCodec): CompletionLogprobs | null {
  if (asked.topLogprobs === undefined) return null;
  return {
    tokens: delta.tokens.map((token) => tokenName(codec, token.tokenId)),
    token_logprobs: delta.tokens.map(({ logprob }) => (logprob === undefined ? null : finite(logprob))),
    top_logprobs: delta.tokens.map((token) => topByName(token, codec)),
    text_offset: delta.tokens.map((token) => token.offset),
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

function chatLogprobs(delta: ChoiceDelta, asked: ShapeOptions, codec: TextCodec): ChatLogprobs | null {
  if (asked.topLogprobs === undefined) return null;
  const named = ({ tokenId, logprob = unreported() }: TokenAnswer) => ({
    token: tokenName(codec, tokenId),
    logprob: finite(logprob),
    bytes: Array.from(codec.tokenBytes(tokenId)),
  });
  return {
    content: delta.tokens.map((token) => ({
      ...named(token),
      top_logprobs: (token.topLogprobs ?? []).map(named),
    })),
    refusal: null,
  };
}

function unreported(): never {
  throw new Error('a generated token has no logprob');
}

/** JSON has no −∞. OpenAI writes −9999 for the least likely tokens. */
function finite(logprob: number): number {
  return Math.max(logprob, -9999);
}

function shoalField(delta: ChoiceDelta, asked: ShapeOptions): { shoal?: ShoalTokens } {
  if (!asked.trace) return {};
  return { shoal: { tokens: delta.tokens.map(({ tokenId: id, text, laps }) => ({ id, text, laps })) } };
}

import type { TokenLogprob } from '../scheduler/generation.ts';
import type { ChoiceDelta, OutputToken } from './choice.ts';
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

export type ShapeOptions = Pick<ParsedRequest, 'topLogprobs' | 'trace'>;

/** How one endpoint writes choices; the flow around them (`generate.ts`) is the same for both. */
export interface AnswerShape {
  idPrefix: 'cmpl' | 'chatcmpl';
  object: 'text_completion' | 'chat.completion';
  chunkObject: 'text_completion' | 'chat.completion.chunk';
  /** Sent once per choice before anything else of it. */
  firstChunk(index: number): object | undefined;
  chunk(index: number, delta: ChoiceDelta, parsed: ShapeOptions, codec: TextCodec): object;
  whole(index: number, deltas: readonly ChoiceDelta[], parsed: ShapeOptions, codec: TextCodec): object;
}

export const completionShape: AnswerShape = {
  idPrefix: 'cmpl',
  object: 'text_completion',
  chunkObject: 'text_completion',
  firstChunk: () => undefined,
  chunk: (index, delta, parsed, codec): CompletionChoice =>
    delta.finishReason === null
      ? completionChoice(index, delta, parsed, codec)
      : { text: '', index, logprobs: null, finish_reason: delta.finishReason },
  whole: (index, deltas, parsed, codec) => completionChoice(index, joinDeltas(deltas), parsed, codec),
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
  chunk: (index, delta, parsed, codec): ChatChunkChoice =>
    delta.finishReason === null
      ? {
          index,
          delta: { content: delta.text },
          logprobs: chatLogprobs(delta, parsed, codec),
          finish_reason: null,
          ...shoalField(delta, parsed),
        }
      : { index, delta: {}, logprobs: null, finish_reason: delta.finishReason },
  whole: (index, deltas, parsed, codec): ChatChoice => {
    const delta = joinDeltas(deltas);
    return {
      index,
      message: { role: 'assistant', content: delta.text, refusal: null },
      logprobs: chatLogprobs(delta, parsed, codec),
      finish_reason: delta.finishReason,
      ...shoalField(delta, parsed),
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

function completionChoice(index: number, delta: ChoiceDelta, parsed: ShapeOptions, codec: TextCodec): CompletionChoice {
  return {
    text: delta.text,
    index,
    logprobs: completionLogprobs(delta, parsed, codec),
    finish_reason: delta.finishReason,
    ...shoalField(delta, parsed),
  };
}

function completionLogprobs(delta: ChoiceDelta, parsed: ShapeOptions, codec: TextCodec): CompletionLogprobs | null {
  if (parsed.topLogprobs === undefined) return null;
  return {
    tokens: delta.tokens.map((token) => tokenName(codec, token.id)),
    token_logprobs: delta.tokens.map((token) => (token.logprob === null ? null : finite(token.logprob))),
    top_logprobs: delta.tokens.map((token) => topByName(token, codec)),
    text_offset: delta.tokens.map((token) => token.offset),
  };
}

/** OpenAI's completions list the chosen token too, even where it is none of the best. The first prompt token has none. */
function topByName(token: OutputToken, codec: TextCodec): Record<string, number> | null {
  if (token.logprob === null) return null;
  const listed = [...token.topLogprobs, { tokenId: token.id, logprob: token.logprob }];
  // A token may be called `__proto__`, so entries are defined, never assigned.
  return Object.fromEntries(listed.map((entry) => [tokenName(codec, entry.tokenId), finite(entry.logprob)]));
}

function chatLogprobs(delta: ChoiceDelta, parsed: ShapeOptions, codec: TextCodec): ChatLogprobs | null {
  if (parsed.topLogprobs === undefined) return null;
  const named = ({ tokenId, logprob }: TokenLogprob) => ({
    token: tokenName(codec, tokenId),
    logprob: finite(logprob),
    bytes: Array.from(codec.tokenBytes(tokenId)),
  });
  return {
    content: delta.tokens.map((token) => ({
      ...named({ tokenId: token.id, logprob: reported(token) }),
      top_logprobs: token.topLogprobs.map(named),
    })),
    refusal: null,
  };
}

function reported(token: OutputToken): number {
  if (token.logprob === null) throw new Error('the engine reported no logprob for a generated token');
  return token.logprob;
}

/** JSON has no −∞; OpenAI writes −9999 for what is next to impossible. */
function finite(logprob: number): number {
  return Math.max(logprob, -9999);
}

function shoalField(delta: ChoiceDelta, parsed: ShapeOptions): { shoal?: ShoalTokens } {
  if (!parsed.trace) return {};
  return { shoal: { tokens: delta.tokens.map(({ id, text, laps }) => ({ id, text, laps })) } };
}

import type { TokenAnswer } from '@shoal/model';
import type { AnswerDelta, WholeAnswer } from '../answer.ts';
import type { OutputToken } from '../choice.ts';
import { tokenName, type TextCodec } from '../codec.ts';
import type { ApiError } from '../errors.ts';
import type { ParsedRequest } from '../requests/parsed-request.ts';
import type { PromptLogprob, ShoalTokens, Usage } from '../response-schema.ts';

/** What an endpoint's answer begins with. */
export interface AnswerHead {
  id: string;
  created: number;
  model: string;
  system_fingerprint: string;
}

/** What the writing of an answer depends on. */
export interface ShapeContext {
  head: AnswerHead;
  parsed: ParsedRequest;
  codec: TextCodec;
}

export interface WholeChoice {
  index: number;
  answer: WholeAnswer;
  /** Present if the request asked for them. */
  promptLogprobs: readonly TokenAnswer[] | undefined;
}

/** A server-sent event; the name is left out for OpenAI's older endpoints. */
export interface ServerEvent {
  name?: string;
  data: object | '[DONE]';
}

/** How an endpoint writes answers. `generate.ts` is the same for all endpoints. */
export interface AnswerShape {
  idPrefix: string;
  whole(context: ShapeContext, choices: readonly WholeChoice[], usage: Usage): object;
  stream(context: ShapeContext): StreamShape;
}

/** How an endpoint writes one streamed answer. */
export interface StreamShape {
  /** Events before the first token, for choices 0 to `choices` − 1. */
  open(choices: number, promptTokens: number): ServerEvent[];
  /** `usage` counts all choices so far. */
  delta(index: number, delta: AnswerDelta, usage: () => Usage): ServerEvent[];
  /** Events after the last token of the last choice. */
  close(usage: Usage): ServerEvent[];
  /** The last events of an answer that has failed. */
  fail(error: ApiError): ServerEvent[];
}

/** A token's name in log-probabilities: its text, or its id where the request asks for that. */
export function nameIn({ namesTokensById }: Pick<ParsedRequest, 'namesTokensById'>, codec: TextCodec) {
  return (tokenId: number): string => (namesTokensById ? `token_id:${tokenId}` : tokenName(codec, tokenId));
}

/** A token with its log-probability and its alternatives, as OpenAI's newer endpoints name them. */
export function namedLogprobs(token: OutputToken, codec: TextCodec, nameOf = (id: number) => tokenName(codec, id)) {
  const named = ({ tokenId, logprob = unreported() }: TokenAnswer) => ({
    token: nameOf(tokenId),
    logprob: finite(logprob),
    bytes: Array.from(codec.tokenBytes(tokenId)),
  });
  return { ...named(token), top_logprobs: (token.topLogprobs ?? []).map(named) };
}

function unreported(): never {
  throw new Error('a generated token has no logprob');
}

/** JSON has no −∞. OpenAI writes −9999 for the least likely tokens. */
export function finite(logprob: number): number {
  return Math.max(logprob, -9999);
}

/** `shoal.trace`: what computed each token. */
export function shoalField(
  { tokens }: { tokens: readonly OutputToken[] },
  { generation }: ParsedRequest,
): { shoal?: ShoalTokens } {
  if (!generation.trace) return {};
  return { shoal: { tokens: tokens.map(({ tokenId: id, text, laps }) => ({ id, text, laps })) } };
}

/** vLLM's `stop_reason`: what ended the answer, if it wasn't an end of text. */
export function stopReason({ end }: { end: { stop?: string | number } | null }): { stop_reason?: string | number } {
  return end?.stop === undefined ? {} : { stop_reason: end.stop };
}

/** vLLM's `token_ids`: those of the text, without a prompt that is echoed. */
export function tokenIdsField(
  tokens: readonly OutputToken[],
  { returnsTokenIds }: ParsedRequest,
): { token_ids?: number[] } {
  return returnsTokenIds ? { token_ids: tokens.map(({ tokenId }) => tokenId) } : {};
}

/** vLLM's `prompt_token_ids`, of the prompt of a choice. */
export function promptIdsField(index: number, { prompts, n, returnsTokenIds }: ParsedRequest) {
  return returnsTokenIds ? { prompt_token_ids: prompts[Math.floor(index / n)]!.ids } : {};
}

/** vLLM's `prompt_logprobs`: for each token of the prompt but the first, by id. */
export function promptLogprobsField(
  { promptLogprobs }: WholeChoice,
  codec: TextCodec,
): { prompt_logprobs?: PromptLogprob[] } {
  if (!promptLogprobs) return {};
  return { prompt_logprobs: promptLogprobs.map((token) => promptLogprob(token, codec)) };
}

function promptLogprob({ tokenId, logprob, topLogprobs = [] }: TokenAnswer, codec: TextCodec): PromptLogprob {
  if (logprob === undefined) return null;
  const ranked = topLogprobs.map((one, index) => [one, index + 1] as const);
  const isListed = topLogprobs.some((one) => one.tokenId === tokenId);
  const entries = isListed ? ranked : [...ranked, [{ tokenId, logprob }, null] as const];
  return Object.fromEntries(
    entries.map(([one, rank]) => [
      String(one.tokenId),
      { logprob: finite(one.logprob), rank, decoded_token: tokenName(codec, one.tokenId) },
    ]),
  );
}

/** Chunks of OpenAI's older endpoints: what every chunk has, and its usage. */
export function chunkWriter({ head, parsed }: ShapeContext, object: string) {
  const { includeUsage, usageInChunks } = parsed;
  return (choices: object[], usage: () => Usage, more: object = {}): ServerEvent => ({
    data: {
      ...head,
      object,
      ...more,
      choices,
      // With include_usage, OpenAI's chunks before the last say `usage: null`.
      ...(usageInChunks ? { usage: usage() } : includeUsage ? { usage: null } : {}),
    },
  });
}

export const DONE: ServerEvent = { data: '[DONE]' };

import { ModelError } from './errors.ts';
import { logSoftmaxAt, sample, type TokenRange, topLogprobs } from './sampler.ts';

/** As many alternatives to a token as can be asked for: OpenAI's limit. */
export const MAX_TOP_LOGPROBS = 20;

/** How a token is drawn. */
export interface SamplingParams extends TokenRange {
  /** The random number it is drawn with, in [0, 1); not looked at when the temperature is 0. */
  uniform: number;
}

/** What a row's logits are wanted for, so that they need not leave the threads that compute them. */
export interface TokenQuery {
  /** A token to be drawn; or one that is known already, and only to be told of. */
  token: SamplingParams | number;
  /** Log-probabilities of the token and of so many of the most probable ones (MAX_TOP_LOGPROBS at most); undefined: none. */
  topLogprobs?: number | undefined;
}

export interface TokenAnswer {
  tokenId: number;
  /** As `logSoftmaxAt`: whatever the token was drawn with. */
  logprob?: number;
  /** As `topLogprobs` has them. */
  topLogprobs?: { tokenId: number; logprob: number }[];
}

/** A row's answer; where its logits are damaged, the error, which is no other row's. */
export type RowAnswer = TokenAnswer | ModelError;

/** logits [vocabSize]; the query is one that `checkQuery` lets pass. */
export function answerQuery(logits: Float32Array, query: TokenQuery): RowAnswer {
  const { token, topLogprobs: top } = query;
  try {
    const tokenId = typeof token === 'number' ? token : sample(logits, { ...token, rng: () => token.uniform });
    if (top === undefined) return { tokenId };
    return { tokenId, logprob: logSoftmaxAt(logits, tokenId), topLogprobs: topLogprobs(logits, top) };
  } catch (error) {
    if (error instanceof ModelError) return error;
    throw error;
  }
}

/** Throws a RangeError for a token outside the vocabulary, or too many alternatives. */
export function checkQuery({ token, topLogprobs: top = 0 }: TokenQuery, vocabSize: number): void {
  if (typeof token === 'number' && !(Number.isInteger(token) && token >= 0 && token < vocabSize)) {
    throw new RangeError(`token ${token} is outside the vocabulary of ${vocabSize}`);
  }
  if (!(Number.isInteger(top) && top >= 0 && top <= MAX_TOP_LOGPROBS)) {
    throw new RangeError(`${top} alternatives to a token: 0 to ${MAX_TOP_LOGPROBS} can be told`);
  }
}

/** The answer of a row that had a query. Throws a ModelError where its logits are damaged. */
export function answerOf(answers: readonly (RowAnswer | undefined)[], row: number): TokenAnswer {
  const answer = answers[row];
  if (answer === undefined) throw new TypeError(`row ${row} queried for no token`);
  if (answer instanceof ModelError) throw answer;
  return answer;
}

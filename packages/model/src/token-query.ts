import { ModelError } from './errors.ts';
import { logSoftmaxAt, sample, type TokenRange, topLogprobs } from './sampler.ts';

/** Largest number of alternatives to a token that a query may ask for: OpenAI's limit. */
export const MAX_TOP_LOGPROBS = 20;

/** How a token is drawn. */
export interface SamplingParams extends TokenRange {
  /** The random number in [0, 1) that it is drawn with; not used at temperature 0. */
  uniform: number;
}

/** What a row's logits are needed for, so that they need not leave the threads that compute them. */
export interface TokenQuery {
  /** How to draw the row's token; or a token that is known, whose probability is asked for. */
  token: SamplingParams | number;
  /** How many of the most probable tokens (MAX_TOP_LOGPROBS at most) to list with log-probabilities; undefined: no logprobs. */
  topLogprobs?: number | undefined;
}

export interface TokenAnswer {
  tokenId: number;
  /** As `logSoftmaxAt` gives it, whatever the sampling parameters. */
  logprob?: number;
  /** As `topLogprobs` gives them. */
  topLogprobs?: { tokenId: number; logprob: number }[];
}

/** A row's answer, or the error if its logits are damaged, which does not affect other rows. */
export type RowAnswer = TokenAnswer | ModelError;

/** Answers a query that `checkQueries` has accepted, from logits [vocabSize]. */
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

/** Throws a RangeError if a query names a token outside the vocabulary or asks for too many alternatives. */
export function checkQueries(rows: readonly { query?: TokenQuery | undefined }[], vocabSize: number): void {
  for (const { query } of rows) {
    if (!query) continue;
    const { token, topLogprobs: top = 0 } = query;
    if (typeof token === 'number' && !(Number.isInteger(token) && token >= 0 && token < vocabSize)) {
      throw new RangeError(`token ${token} is outside the vocabulary of ${vocabSize}`);
    }
    if (!(Number.isInteger(top) && top >= 0 && top <= MAX_TOP_LOGPROBS)) {
      throw new RangeError(`topLogprobs is ${top}; it must be an integer from 0 to ${MAX_TOP_LOGPROBS}`);
    }
  }
}

/** The answer of a row that had a query. Throws a ModelError if its logits are damaged. */
export function answerOf(answers: readonly (RowAnswer | undefined)[], row: number): TokenAnswer {
  const answer = answers[row];
  if (answer === undefined) throw new TypeError(`row ${row} had no query`);
  if (answer instanceof ModelError) throw answer;
  return answer;
}

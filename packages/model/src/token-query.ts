import { messageOf, ModelError } from './errors.ts';
import { maskWords, type TokenMask } from './logit-changes.ts';
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

/** What a row's logits are needed for. */
export interface QueryRow {
  query?: TokenQuery | undefined;
  /**
   * The tokens that the query may draw; undefined: all. A promise is awaited only just before the head. If it rejects, its error
   * is the row's answer.
   */
  mask?: TokenMask | Promise<TokenMask | undefined> | undefined;
}

/** A row's answer, or why it has none (damaged logits, a mask that allows nothing or has failed), which affects no other row. */
export type RowAnswer = TokenAnswer | Error;

/** A mask that has come, or why it has not; undefined: all tokens may be drawn. */
export type SettledMask = TokenMask | Error | undefined;

/**
 * The rows' masks, once all have come. Called when a pass begins, so that none rejects without a listener. Never rejects.
 */
export async function settleMasks(rows: readonly QueryRow[], vocabSize: number): Promise<SettledMask[]> {
  const words = maskWords(vocabSize);
  const settle = async ({ query, mask: coming }: QueryRow): Promise<SettledMask> => {
    try {
      const mask = await coming;
      if (!mask || mask.length >= words || !query) return mask;
      const what = `a mask of ${mask.length} words; ${vocabSize} tokens need ${words}`;
      return new ModelError('bad-value', 'mask', what);
    } catch (error) {
      return error instanceof Error ? error : new Error(messageOf(error));
    }
  };
  if (rows.every(({ mask }) => mask === undefined)) return rows.map(() => undefined);
  return Promise.all(rows.map(settle));
}

/** Answers a query that `checkQueries` has accepted, from logits [vocabSize]. */
export function answerQuery(logits: Float32Array, query: TokenQuery, mask?: SettledMask): RowAnswer {
  if (mask instanceof Error) return mask;
  const { token, topLogprobs: top } = query;
  try {
    const tokenId = typeof token === 'number' ? token : sample(logits, { ...token, mask, rng: () => token.uniform });
    if (top === undefined) return { tokenId };
    return { tokenId, logprob: logSoftmaxAt(logits, tokenId), topLogprobs: topLogprobs(logits, top) };
  } catch (error) {
    if (error instanceof ModelError) return error;
    throw error;
  }
}

/**
 * Throws a RangeError if a query names a token outside the vocabulary, asks for too many alternatives, or lists more tokens than
 * there are.
 */
export function checkQueries(rows: readonly QueryRow[], vocabSize: number): void {
  for (const { query } of rows) {
    if (!query) continue;
    const { token, topLogprobs: top = 0 } = query;
    if (typeof token === 'number' && !(Number.isInteger(token) && token >= 0 && token < vocabSize)) {
      throw new RangeError(`token ${token} is outside the vocabulary of ${vocabSize}`);
    }
    if (!(Number.isInteger(top) && top >= 0 && top <= MAX_TOP_LOGPROBS)) {
      throw new RangeError(`topLogprobs is ${top}; it must be an integer from 0 to ${MAX_TOP_LOGPROBS}`);
    }
    if (typeof token !== 'number') checkChanges(token, vocabSize);
  }
}

function checkChanges({ changes }: SamplingParams, vocabSize: number): void {
  const biased = changes?.biases?.size ?? 0;
  const seen = (changes?.penalties?.seen.length ?? 0) / 2;
  if (Math.max(biased, seen) > vocabSize || !Number.isInteger(seen)) {
    throw new RangeError(
      `changes to ${biased} and ${seen} tokens; the vocabulary has ${vocabSize}, and each is listed once`,
    );
  }
}

/** The answer of a row that had a query. Throws the error that it has instead. */
export function answerOf(answers: readonly (RowAnswer | undefined)[], row: number): TokenAnswer {
  const answer = answers[row];
  if (answer === undefined) throw new TypeError(`row ${row} had no query`);
  if (answer instanceof Error) throw answer;
  return answer;
}

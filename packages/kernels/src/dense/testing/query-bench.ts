import {
  answerQuery,
  changeLogits,
  type RowAnswer,
  type SamplingParams,
  type TokenMask,
  type TokenQuery,
} from '@shoal/model';
import { listWordsOf, maskBytes, QUERY_BYTES, queryScratchBytes, readAnswer, writeQuery } from '../token-queries.ts';
import { KernelBench } from './kernels.ts';

/** Sums of the kernel and of the reference agree to this share: the exponential's relative error is below 1e-12. */
const ROUNDING = 1e-11;

/** A row of logits in memory, and a token query about it. */
export class QueryBench {
  readonly #bench: KernelBench;
  readonly #vocab: number;
  readonly #query: number;
  readonly #logits: number;
  readonly #scratch: number;
  readonly #mask: number;
  readonly #lists: number;
  readonly #listWords: number;
  readonly #logitsBefore: Float32Array;

  /** `listWords`: for all lists of any of its queries. */
  constructor(logits: Float32Array, listWords = 0) {
    this.#listWords = listWords;
    this.#logitsBefore = logits;
    this.#vocab = logits.length;
    // Thousands of rows are made, and poisoning more memory than each needs takes most of the time.
    const bytes = 4 * logits.byteLength + 4 * listWords + 200_000;
    this.#bench = new KernelBench('shoal.wasm', Math.ceil(bytes / 65_536));
    this.#query = this.#bench.room(QUERY_BYTES);
    this.#logits = this.#bench.put(logits);
    this.#scratch = this.#bench.room(queryScratchBytes(logits.length));
    this.#mask = this.#bench.room(maskBytes(logits.length));
    this.#lists = this.#bench.room(listWords * 4);
  }

  answer(query: TokenQuery, mask?: TokenMask): RowAnswer {
    if (listWordsOf([{ query }]) > this.#listWords) throw new RangeError('no room for these lists');
    const place = { query: this.#query, lists: this.#lists, mask: this.#mask, row: 0 };
    writeQuery(this.#bench, place, query, mask, this.#vocab);
    this.#bench.exports.answerQuery(this.#query, this.#logits, this.#vocab, this.#scratch);
    return readAnswer(this.#bench, this.#query, this.#vocab);
  }

  draw(token: SamplingParams, mask?: TokenMask): number {
    const answer = this.answer({ token }, mask);
    if (answer instanceof Error) throw answer;
    return answer.tokenId;
  }

  get exports() {
    return this.#bench.exports;
  }

  /** The logits that the last token was drawn from, if they were not the row's own. */
  get changed(): Float32Array {
    return this.#bench.floats(this.#scratch, this.#vocab);
  }

  /** Whether the logits are as they were, and nothing is written behind the row's last vector and the scratch. */
  get isTidy(): boolean {
    const isRow = this.#bench.isUntouched(this.#logits + Math.ceil(this.#vocab / 4) * 16, 12);
    const isScratch = this.#bench.isUntouched(this.#scratch + queryScratchBytes(this.#vocab), 12);
    const logits = this.#bench.floats(this.#logits, this.#vocab);
    return isRow && isScratch && this.#logitsBefore.every((value, i) => Object.is(value, logits[i]));
  }
}

export const expected = (logits: Float32Array, token: SamplingParams, mask?: TokenMask): number => {
  const answer = answerQuery(logits, { token }, mask);
  if (answer instanceof Error) throw answer;
  return answer.tokenId;
};

/**
 * Whether the reference would have drawn `other` with a number a hair away, or its logit weighs the same in float64: those the
 * kernel orders by logit, the reference by index.
 */
export function isAsGood(logits: Float32Array, token: SamplingParams, other: number, mask?: TokenMask): boolean {
  const near = [-ROUNDING, ROUNDING].map((by) => {
    const uniform = Math.min(1 - 2 ** -53, Math.max(0, token.uniform + by));
    return expected(logits, { ...token, uniform }, mask);
  });
  const changed = changeLogits(logits, token.changes ?? {}, mask);
  const weigh = (id: number) => Math.exp((changed[id]! - Math.max(...changed)) / token.temperature);
  return near.some((id) => id === other || weigh(id) === weigh(other));
}

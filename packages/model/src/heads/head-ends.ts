import type { ExpertDispatch } from '../dispatch.ts';
import { checkTokens, type HeadRow, type Model } from '../forward.ts';
import { linear } from '../math.ts';
import { answerQuery, checkQueries } from '../token-query.ts';
import type { DraftHead, HeadResult } from './draft-head.ts';

/** Heads have no routed experts. */
export const NO_EXPERTS: ExpertDispatch = {
  dispatch: () => {
    throw new TypeError('a head has no routed experts');
  },
};

/** The tokens' embeddings, [numRows, hiddenSize]: the head's own, or the target's as they are stored. */
export function embedForHead({ config, weights }: DraftHead, target: Model, tokenIds: readonly number[]): Float32Array {
  const { hiddenSize, vocabSize } = config.transformer;
  checkTokens(tokenIds, vocabSize);
  const table = weights.embedTokens ?? target.weights.embedTokens;
  const x = new Float32Array(tokenIds.length * hiddenSize);
  for (const [r, id] of tokenIds.entries())
    x.set(table.subarray(id * hiddenSize, (id + 1) * hiddenSize), r * hiddenSize);
  return x;
}

/** What the rows need of their logits; normed [numRows, hiddenSize]. */
export function answerHead(
  { config, weights, vocabulary }: DraftHead,
  target: Model,
  rows: readonly HeadRow[],
  normed: Float32Array,
): Pick<HeadResult, 'logits' | 'answers'> {
  const { transformer, draftVocabSize } = config;
  checkQueries(rows, transformer.vocabSize);
  const lmHead = weights.lmHead ?? target.weights.lmHead;
  const size = transformer.hiddenSize;
  const logits = rows.map(({ wantLogits, query }, r) =>
    wantLogits || query
      ? linear(normed.subarray(r * size, (r + 1) * size), lmHead, 1, size, draftVocabSize)
      : undefined,
  );
  return {
    logits: rows.map(({ wantLogits }, r) => (wantLogits ? logits[r] : undefined)),
    answers: rows.map(
      ({ query }, r) => query && vocabulary.answerOf(answerQuery(logits[r]!, vocabulary.queryOf(query))),
    ),
  };
}

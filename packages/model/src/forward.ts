import type { ExpertDispatch } from './dispatch.ts';
import type { KvCache } from './kv-cache.ts';
import { decoderLayer, openBatch, type ForwardObserver } from './layer.ts';
import { linear, rmsNorm } from './math.ts';
import type { ModelConfig } from './model-config.ts';
import type { DenseWeights } from './weights.ts';
import { answerQuery, checkQuery, type RowAnswer, type TokenQuery } from './token-query.ts';

export interface Model {
  config: ModelConfig;
  weights: DenseWeights;
}

/** One token of one sequence. */
export interface ForwardRow {
  tokenId: number;
  /** From 0; the first row of a sequence continues at its cache's length, the next one follows. */
  position: number;
  cache: KvCache;
  query?: TokenQuery | undefined;
  /** All of its logits, for whoever cannot say what for. */
  wantLogits?: boolean | undefined;
}

export interface ForwardResult {
  /** Per row: [vocabSize], or undefined where they were not wanted. */
  logits: (Float32Array | undefined)[];
  /** Per row: undefined where there was no query. */
  answers: (RowAnswer | undefined)[];
  /** [numRows, hiddenSize], the hidden states that the MTP module continues from, as `config.mtpHidden` says. */
  hidden: Float32Array;
}

/**
 * The main model on a batch of rows of any number of sequences: prefill and decode alike. A row attends to the positions of
 * its own sequence up to its own, and its result is bit for bit independent of the other rows (provided `experts` is).
 * When `experts` fails, the error is passed on with every cache as it was before the call, so that the call can be repeated.
 * Throws a RangeError for a token outside the vocabulary, a query that cannot be fulfilled or a position out of place.
 */
export async function forward(
  model: Model,
  rows: readonly ForwardRow[],
  experts: ExpertDispatch,
  observe: ForwardObserver = {},
): Promise<ForwardResult> {
  const { config, weights } = model;
  for (const { query } of rows) if (query) checkQuery(query, config.vocabSize);
  const x = embed(model, rows);
  const batch = openBatch(config, rows, experts, observe);
  try {
    for (const [i, layer] of weights.layers.entries()) await decoderLayer(batch, layer, i, i, x);
  } catch (error) {
    batch.claim.rollback();
    throw error;
  }
  batch.claim.release();
  const normed = rmsNorm(x, weights.norm, rows.length, config.rmsNormEps);
  return { ...head(model, rows, normed), hidden: config.mtpHidden === 'after-norm' ? normed : x };
}

/** → [numRows, hiddenSize] */
export function embed({ config, weights }: Model, rows: readonly { tokenId: number }[]): Float32Array {
  const { hiddenSize, vocabSize } = config;
  const x = new Float32Array(rows.length * hiddenSize);
  for (const [r, { tokenId }] of rows.entries()) {
    if (!Number.isInteger(tokenId) || tokenId < 0 || tokenId >= vocabSize) {
      throw new RangeError(`row ${r}: token ${tokenId} is outside the vocabulary of ${vocabSize}`);
    }
    x.set(weights.embedTokens.subarray(tokenId * hiddenSize, (tokenId + 1) * hiddenSize), r * hiddenSize);
  }
  return x;
}

/** The output head for the rows that want something of it; hidden [numRows, hiddenSize]. */
export function head(
  { config, weights }: Model,
  rows: readonly Pick<ForwardRow, 'query' | 'wantLogits'>[],
  hidden: Float32Array,
): Pick<ForwardResult, 'logits' | 'answers'> {
  const { hiddenSize, vocabSize } = config;
  const wanted = rows.flatMap(({ wantLogits, query }, r) => (wantLogits || query ? [r] : []));
  const picked = new Float32Array(wanted.length * hiddenSize);
  for (const [i, r] of wanted.entries())
    picked.set(hidden.subarray(r * hiddenSize, (r + 1) * hiddenSize), i * hiddenSize);
  const all = linear(picked, weights.lmHead, wanted.length, hiddenSize, vocabSize);
  const logits: (Float32Array | undefined)[] = rows.map(() => undefined);
  const answers: (RowAnswer | undefined)[] = rows.map(() => undefined);
  for (const [i, r] of wanted.entries()) {
    const own = all.subarray(i * vocabSize, (i + 1) * vocabSize);
    const { wantLogits, query } = rows[r]!;
    // A copy, so that keeping one row's logits doesn't keep the batch's.
    if (wantLogits) logits[r] = own.slice();
    if (query) answers[r] = answerQuery(own, query);
  }
  return { logits, answers };
}

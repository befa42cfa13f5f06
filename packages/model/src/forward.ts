import type { Adapter, EngineAdapter } from './adapters/adapter.ts';
import type { ExpertDispatch } from './dispatch.ts';
import type { KvCache, RowSlots } from './kv-cache.ts';
import type { ForwardObserver } from './forward-observer.ts';
import { decoderLayer, openBatch } from './layer.ts';
import { linear, rmsNorm } from './math.ts';
import type { ModelConfig } from './model-config.ts';
import type { DenseWeights } from './weights.ts';
import {
  answerQuery,
  checkQueries,
  type QueryRow,
  type RowAnswer,
  type SettledMask,
  settleMasks,
} from './token-query.ts';

export interface Model {
  config: ModelConfig;
  weights: DenseWeights;
  /** Which hidden states `ForwardResult.auxiliary` has; none by default. */
  auxiliaryLayers?: readonly number[] | undefined;
}

/** What a row's logits are needed for. */
export interface HeadRow extends QueryRow {
  /** Whether all of its logits are returned, for what a query cannot express. */
  wantLogits?: boolean | undefined;
}

/** One token of one sequence. */
export interface ForwardRow<Cache = KvCache> extends HeadRow {
  tokenId: number;
  /** From 0; the first row of a sequence continues at its cache's length, the next one follows. */
  position: number;
  cache: Cache;
  slots?: RowSlots;
  /** What is added to the model's matrices for this row; of the same engine. All rows of a sequence have the same. */
  adapter?: EngineAdapter | undefined;
  /** Of a mixture of adapters: what they are multiplied by for this row, as `scalingsOf` gives it. */
  scalings?: Float32Array | undefined;
}

/** A row of the reference's forward. */
export type ReferenceRow = Omit<ForwardRow, 'adapter'> & { adapter?: Adapter | undefined };

export interface ForwardResult {
  /** Per row: [vocabSize], or undefined where they were not wanted. */
  logits: (Float32Array | undefined)[];
  /** Per row: undefined where there was no query. */
  answers: (RowAnswer | undefined)[];
  /** Per row: why it is no longer finite, which its answer is too. Absent if all are. Its sequence cannot go on from it. */
  faults?: readonly (Error | undefined)[] | undefined;
  /** [numRows, hiddenSize], the hidden states that the MTP module continues from, as `config.mtpHidden` says. */
  hidden: Float32Array;
  /** [numRows, hiddenSize], what the output head reads: the last hidden states after the norm. */
  normed: Float32Array;
  /**
   * [numRows, layers, hiddenSize], of each layer asked for the input, which is what the layer before it gives; of numHiddenLayers
   * what the last one gives. Absent where none was asked for.
   */
  auxiliary?: Float32Array | undefined;
}

/**
 * Runs the main model on a batch of rows of any number of sequences, prompt and decode rows together. A row attends to its own
 * sequence up to its position, and its result is bit for bit independent of the other rows (provided `experts` is).
 * When `experts` fails, its error is rethrown with every cache as it was before the call, so that the call can be repeated.
 * Throws a RangeError for a token outside the vocabulary, an invalid query or a position that does not continue its sequence.
 */
export async function forward(
  model: Model,
  rows: readonly ReferenceRow[],
  experts: ExpertDispatch,
  observe: ForwardObserver = {},
): Promise<ForwardResult> {
  const { config, weights } = model;
  checkQueries(rows, config.vocabSize);
  const masks = settleMasks(rows, config.vocabSize);
  const ids = rows.map(({ tokenId }) => tokenId);
  const x = embed(model, ids);
  const adapters = rows.some(({ adapter }) => adapter)
    ? rows.map(({ adapter, scalings }) => adapter && { adapter, scalings })
    : undefined;
  const batch = openBatch(config, rows, experts, observe, adapters);
  batch.faults.check(x, (row) => `the embedding of token ${ids[row]}`);
  const auxiliary = new Auxiliary(model.auxiliaryLayers ?? [], rows.length, config.hiddenSize);
  try {
    for (const [i, layer] of weights.layers.entries()) {
      auxiliary.take(i, x);
      await decoderLayer(batch, layer, i, i, x);
    }
    auxiliary.take(config.numHiddenLayers, x);
  } catch (error) {
    batch.claim.rollback();
    throw error;
  }
  batch.claim.release();
  const normed = rmsNorm(x, weights.norm, rows.length, config.rmsNormEps);
  const settled = await masksAfterLayers(masks, config.numHiddenLayers - 1, observe);
  batch.faults.check(normed, () => 'the norm before the output head');
  const hidden = config.mtpHidden === 'after-norm' ? normed : x;
  return batch.faults.into({ ...head(model, rows, normed, settled), hidden, normed, ...auxiliary.result });
}

/** Collects the hidden states of some layers while a pass runs. */
export class Auxiliary {
  readonly #layers: readonly number[];
  readonly #hiddenSize: number;
  readonly #values: Float32Array;

  constructor(layers: readonly number[], numRows: number, hiddenSize: number) {
    this.#layers = layers;
    this.#hiddenSize = hiddenSize;
    this.#values = new Float32Array(numRows * layers.length * hiddenSize);
  }

  has(layer: number): boolean {
    return this.#layers.includes(layer);
  }

  /** Takes a layer's input x [numRows, hiddenSize], if it is asked for. */
  take(layer: number, x: Float32Array): void {
    const at = this.#layers.indexOf(layer);
    if (at < 0) return;
    const size = this.#hiddenSize;
    for (let r = 0; r < x.length / size; r++) {
      this.#values.set(x.subarray(r * size, (r + 1) * size), (r * this.#layers.length + at) * size);
    }
  }

  /** For the result: nothing where no layer is asked for. */
  get result(): { auxiliary?: Float32Array } {
    return this.#layers.length > 0 ? { auxiliary: this.#values } : {};
  }
}

/** The tokens' embeddings, [numRows, hiddenSize]. */
export function embed(
  { config, weights }: { config: ModelConfig; weights: Pick<DenseWeights, 'embedTokens'> },
  tokenIds: readonly number[],
): Float32Array {
  checkTokens(tokenIds, config.vocabSize);
  const { hiddenSize } = config;
  const x = new Float32Array(tokenIds.length * hiddenSize);
  for (const [r, id] of tokenIds.entries()) {
    x.set(weights.embedTokens.subarray(id * hiddenSize, (id + 1) * hiddenSize), r * hiddenSize);
  }
  if (config.embeddingMultiplier !== 1) for (let i = 0; i < x.length; i++) x[i] = x[i]! * config.embeddingMultiplier;
  return x;
}

/** Throws a RangeError naming the first row whose token is outside the vocabulary. */
export function checkTokens(tokenIds: readonly number[], vocabSize: number): void {
  const r = tokenIds.findIndex((id) => !Number.isInteger(id) || id < 0 || id >= vocabSize);
  if (r >= 0) throw new RangeError(`row ${r}: token ${tokenIds[r]} is outside the vocabulary of ${vocabSize}`);
}

/** Awaits a pass's masks after its layers, the last of which is `layer`. The observer is told only if they aren't there. */
export async function masksAfterLayers(
  masks: Promise<readonly SettledMask[]>,
  layer: number,
  observe: ForwardObserver,
): Promise<readonly SettledMask[]> {
  let settled: readonly SettledMask[] | undefined;
  void masks.then((all) => (settled = all));
  // If they are there, this turn is enough to see it.
  await Promise.resolve();
  if (settled) return settled;
  observe.awaitsMasks?.();
  observe.waits?.(layer);
  return masks.finally(() => observe.resumes?.(layer));
}

/** The output head, for the rows whose logits are needed; hidden [numRows, hiddenSize]. */
export function head(
  { config, weights }: { config: ModelConfig; weights: Pick<DenseWeights, 'lmHead'> },
  rows: readonly HeadRow[],
  hidden: Float32Array,
  masks: readonly SettledMask[],
): Pick<ForwardResult, 'logits' | 'answers'> {
  const { hiddenSize, vocabSize } = config;
  const wanted = rows.flatMap(({ wantLogits, query }, r) => (wantLogits || query ? [r] : []));
  const picked = new Float32Array(wanted.length * hiddenSize);
  for (const [i, r] of wanted.entries())
    picked.set(hidden.subarray(r * hiddenSize, (r + 1) * hiddenSize), i * hiddenSize);
  const all = linear(picked, weights.lmHead, wanted.length, hiddenSize, vocabSize);
  if (config.logitsDivisor !== 1) for (let i = 0; i < all.length; i++) all[i] = all[i]! / config.logitsDivisor;
  const logits: (Float32Array | undefined)[] = rows.map(() => undefined);
  const answers: (RowAnswer | undefined)[] = rows.map(() => undefined);
  for (const [i, r] of wanted.entries()) {
    const own = all.subarray(i * vocabSize, (i + 1) * vocabSize);
    const { wantLogits, query } = rows[r]!;
    // A copy, so that a row's logits don't keep the whole batch's in memory.
    if (wantLogits) logits[r] = own.slice();
    if (query) answers[r] = answerQuery(own, query, masks[r]);
  }
  return { logits, answers };
}

import type { ExpertDispatch } from './dispatch.ts';
import { embed, type ForwardResult, head, type HeadRow, masksAfterLayers, type Model } from './forward.ts';
import type { KvCache, RowSlots } from './kv-cache.ts';
import type { ForwardObserver } from './forward-observer.ts';
import { decoderLayer, openBatch } from './layer.ts';
import { linear, rmsNorm } from './math.ts';
import { checkQueries, settleMasks } from './token-query.ts';

export const NO_MTP = 'this model has no MTP module: num_nextn_predict_layers is 0';

/** One position of one sequence for the MTP module. */
export interface MtpRow<Cache = KvCache> extends HeadRow {
  /** [hiddenSize], the main model's hidden state at `position`, as `ForwardResult.hidden` has it. */
  hidden: Float32Array;
  /** The token at `position` + 1. */
  nextTokenId: number;
  position: number;
  /** A cache of the module's own layer: `new KvCache(config, 1)`. */
  cache: Cache;
  slots?: RowSlots;
}

/**
 * The multi-token-prediction module (DeepSeek-V3 paper §2.2): from h_i and token i + 1, logits for token i + 2.
 * Rows and failures as in `forward`; its layer's index, for the experts, is `numHiddenLayers`.
 * Given its own hidden state and its own token i + 2, the module predicts one token further.
 */
export async function forwardMtp(
  model: Model,
  rows: readonly MtpRow[],
  experts: ExpertDispatch,
  observe: ForwardObserver = {},
): Promise<ForwardResult> {
  const { config, weights } = model;
  const { mtp } = weights;
  if (!mtp) throw new RangeError(NO_MTP);
  const { hiddenSize, rmsNormEps } = config;
  checkQueries(rows, config.vocabSize);
  const masks = settleMasks(rows, config.vocabSize);
  const ids = rows.map(({ nextTokenId }) => nextTokenId);
  const embedding = embed(model, ids);
  const before = new Float32Array(rows.length * hiddenSize);
  for (const [r, row] of rows.entries()) before.set(row.hidden, r * hiddenSize);

  const both = new Float32Array(rows.length * 2 * hiddenSize);
  const e = rmsNorm(embedding, mtp.enorm, rows.length, rmsNormEps);
  const h = rmsNorm(before, mtp.hnorm, rows.length, rmsNormEps);
  for (let r = 0; r < rows.length; r++) {
    both.set(e.subarray(r * hiddenSize, (r + 1) * hiddenSize), 2 * r * hiddenSize);
    both.set(h.subarray(r * hiddenSize, (r + 1) * hiddenSize), (2 * r + 1) * hiddenSize);
  }
  const x = linear(both, mtp.ehProj, rows.length, 2 * hiddenSize, hiddenSize);

  const batch = openBatch(config, rows, experts, observe);
  try {
    await decoderLayer(batch, mtp.layer, config.numHiddenLayers, 0, x);
  } catch (error) {
    batch.claim.rollback();
    throw error;
  }
  batch.claim.release();
  const normed = rmsNorm(x, mtp.sharedHeadNorm, rows.length, rmsNormEps);
  const settled = await masksAfterLayers(masks, config.numHiddenLayers, observe);
  batch.faults.check(normed, () => "the MTP module's norm before the output head");
  const hidden = config.mtpHidden === 'after-norm' ? normed : x;
  return batch.faults.into({ ...head(model, rows, normed, settled), hidden, normed });
}

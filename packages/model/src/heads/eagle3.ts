import { type HeadRow, type Model } from '../forward.ts';
import type { KvCache, RowSlots } from '../kv-cache.ts';
import { decoderLayer, decoderLayerOn, openBatch } from '../layer.ts';
import { linear, rmsNorm } from '../math.ts';
import type { DraftHead, HeadResult } from './draft-head.ts';
import { answerHead, embedForHead, NO_EXPERTS } from './head-ends.ts';

/** One position of one sequence for an EAGLE-3 head. */
export interface Eagle3Row<Cache = KvCache> extends HeadRow {
  /**
   * The target's hidden states at `position`, [auxiliary layers × targetHiddenSize], as `ForwardResult.auxiliary` has them; or where
   * `isOwn`, the head's own of the position before, [hiddenSize].
   */
  hidden: Float32Array;
  isOwn: boolean;
  /** The token at `position` + 1. */
  nextTokenId: number;
  position: number;
  /** A cache of the head's own layers. */
  cache: Cache;
  slots?: RowSlots;
}

/**
 * EAGLE-3 (Li et al. 2025, §3.1; reference: `Eagle3DraftModel` of the `speculators` package): from the target's hidden states at
 * position i and token i + 1, logits for token i + 2. `fc` makes one hidden state of those of several layers. The first layer's attention
 * reads it, normalised, behind the token's normalised embedding. Given its own hidden state and its own token i + 2, the head
 * predicts one token further. Rows and failures as in `forward`.
 */
export async function forwardEagle3(head: DraftHead, target: Model, rows: readonly Eagle3Row[]): Promise<HeadResult> {
  const { config, weights } = head;
  const { transformer } = config;
  if (config.head.kind !== 'eagle3') throw new TypeError('this head is no EAGLE-3 head');
  const { hiddenSize, rmsNormEps } = transformer;
  const ids = rows.map(({ nextTokenId }) => nextTokenId);
  const e = rmsNorm(embedForHead(head, target, ids), weights.layers[0]!.inputLayernorm, rows.length, rmsNormEps);
  const before = new Float32Array(rows.length * hiddenSize);
  for (const [r, row] of rows.entries()) before.set(row.isOwn ? row.hidden : joined(head, row.hidden), r * hiddenSize);
  const h = rmsNorm(before, weights.hiddenNorm, rows.length, rmsNormEps);
  const x = config.head.normBeforeResidual ? h.slice() : before;
  const both = new Float32Array(rows.length * 2 * hiddenSize);
  for (let r = 0; r < rows.length; r++) {
    both.set(e.subarray(r * hiddenSize, (r + 1) * hiddenSize), 2 * r * hiddenSize);
    both.set(h.subarray(r * hiddenSize, (r + 1) * hiddenSize), (2 * r + 1) * hiddenSize);
  }
  const batch = openBatch(transformer, rows, NO_EXPERTS, {});
  try {
    for (const [i, layer] of weights.layers.entries()) {
      if (i === 0) await decoderLayerOn(batch, layer, { layer: 0, cacheLayer: 0, normed: both }, x);
      else await decoderLayer(batch, layer, i, i, x);
    }
  } catch (error) {
    batch.claim.rollback();
    throw error;
  }
  batch.claim.release();
  const normed = rmsNorm(x, weights.norm, rows.length, rmsNormEps);
  batch.faults.check(normed, () => "the head's norm before its output");
  const hidden = config.head.goesOnAfterNorm ? normed : x;
  return batch.faults.into({ ...answerHead(head, target, rows, normed), hidden });
}

/** One hidden state from those of several layers, [hiddenSize]. */
export function joined({ config, weights }: Pick<DraftHead, 'config' | 'weights'>, hidden: Float32Array): Float32Array {
  const { transformer, targetHiddenSize: size } = config;
  const { rmsNormEps, hiddenSize } = transformer;
  let x = weights.inputNorm ? rmsNorm(hidden, weights.inputNorm, 1, rmsNormEps) : hidden;
  if (weights.fcNorms) {
    const each = weights.fcNorms.map((norm, i) =>
      rmsNorm(hidden.subarray(i * size, (i + 1) * size), norm, 1, rmsNormEps),
    );
    x = Float32Array.from(each.flatMap((values) => [...values]));
  }
  return linear(x, weights.fc, 1, hidden.length, hiddenSize);
}

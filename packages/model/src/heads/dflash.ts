import { embedForHead, answerHead, NO_EXPERTS } from './head-ends.ts';
import type { Model } from '../forward.ts';
import { writeKeysAndValues } from '../gqa.ts';
import type { KvCache } from '../kv-cache.ts';
import { decoderLayer, openBatch } from '../layer.ts';
import { rmsNorm } from '../math.ts';
import type { TokenQuery } from '../token-query.ts';
import type { DraftHead, HeadResult } from './draft-head.ts';
import { joined } from './eagle3.ts';
import type { DFlashHead } from './head-config.ts';

/** A known position of a sequence, from which a DFlash head makes keys and values. */
export interface ContextRow<Cache = KvCache> {
  /** The target's hidden states there, as `ForwardResult.auxiliary` has them. */
  hidden: Float32Array;
  position: number;
  /** A cache of the head's own layers. */
  cache: Cache;
}

/** The drafts to make for a sequence, all in one call. */
export interface DraftBlock<Cache = KvCache> {
  /** The last known token, and its position: the head's context has all those before it. */
  tokenId: number;
  position: number;
  cache: Cache;
  /** Of the token after it, of the next, …: what is asked about each. As many as there are to be drafts, blockSize − 1 at most. */
  queries: readonly (TokenQuery | undefined)[];
  wantLogits?: boolean | undefined;
}

/** Keys and values of known positions, which blocks attend to (DFlash, Chen et al. 2026, §3.2). Failures as in `forward`. */
export function addContext({ config, weights }: DraftHead, rows: readonly ContextRow[]): void {
  const { transformer } = config;
  const { attention, rmsNormEps, hiddenSize, layerAttention } = transformer;
  if (attention.kind !== 'gqa') throw new TypeError(`a head of ${attention.kind} attention`);
  const all = new Float32Array(rows.length * hiddenSize);
  for (const [r, { hidden }] of rows.entries()) all.set(joined({ config, weights }, hidden), r * hiddenSize);
  const x = rmsNorm(all, weights.hiddenNorm, rows.length, rmsNormEps);
  const batch = openBatch(transformer, rows, NO_EXPERTS, {});
  for (const [i, layer] of weights.layers.entries()) {
    if (layer.attention.kind !== 'gqa') throw new TypeError('weights of another attention');
    const place = { rows, angles: batch.angles, cacheLayer: i, rmsNormEps, layer: layerAttention[i]! };
    writeKeysAndValues(attention, layer.attention, { ...place, x, hiddenSize });
  }
  batch.claim.release();
}

/**
 * The drafts of some sequences (DFlash; reference: `DFlashDraftModel` of the `speculators` package, and the authors' own): a block
 * of the last known token and a mask for each draft, whose rows attend to the context and to all of their block. The row of a mask
 * predicts the token in its own place. Results are by row, of each block first that of the known token; caches are left as they were.
 */
export async function forwardBlocks(
  head: DraftHead,
  target: Model,
  blocks: readonly DraftBlock[],
): Promise<HeadResult> {
  const { config, weights } = head;
  const { transformer } = config;
  if (config.head.kind !== 'dflash') throw new TypeError('this head is no DFlash head');
  const rows = blockRows(config.head, blocks);
  const ids = rows.map(({ tokenId }) => tokenId);
  const x = embedForHead(head, target, ids);
  const batch = openBatch(transformer, rows, NO_EXPERTS, {});
  try {
    for (const [i, layer] of weights.layers.entries()) await decoderLayer(batch, layer, i, i, x);
  } finally {
    batch.claim.rollback();
  }
  const normed = rmsNorm(x, weights.norm, rows.length, transformer.rmsNormEps);
  batch.faults.check(normed, () => "the head's norm before its output");
  return batch.faults.into({ ...answerHead(head, target, rows, normed), hidden: normed });
}

/** The rows of blocks, each block's together. Throws a RangeError for a block of more drafts than the head was made for. */
export function blockRows<Cache>({ blockSize, maskTokenId }: DFlashHead, blocks: readonly DraftBlock<Cache>[]) {
  return blocks.flatMap(({ tokenId, position, cache, queries, wantLogits }) => {
    if (queries.length >= blockSize)
      throw new RangeError(`a block of ${queries.length} drafts, and this head makes ${blockSize - 1}`);
    return Array.from({ length: 1 + queries.length }, (_, i) => ({
      tokenId: i === 0 ? tokenId : maskTokenId,
      position: position + i,
      last: position + queries.length,
      cache,
      query: i === 0 ? undefined : queries[i - 1],
      wantLogits: i > 0 && wantLogits,
    }));
  });
}

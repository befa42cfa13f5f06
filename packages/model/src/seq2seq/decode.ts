import type { ExpertDispatch } from '../dispatch.ts';
import { embed, type ForwardResult, type ForwardRow, head, masksAfterLayers } from '../forward.ts';
import { attendCached } from '../gqa.ts';
import type { ForwardObserver } from '../forward-observer.ts';
import { claimPositions } from '../layer.ts';
import { addInPlace } from '../math.ts';
import { RowFaults } from '../row-faults.ts';
import { checkQueries, settleMasks } from '../token-query.ts';
import { addFfn, attendToOwn, attentionInput, type StackPass } from './layer.ts';
import { normed, partsOf, type ReferenceSource, type Seq2SeqModel } from './model.ts';
import { addSinusoid, PositionBias } from './positions.ts';
import type { Seq2SeqLayerWeights } from '../weights.ts';

/** A token of a target, and the source that it is about, which all rows of a sequence have alike. */
export interface TargetRow extends Omit<ForwardRow, 'adapter' | 'source'> {
  source: ReferenceSource;
}

/**
 * Runs the decoder on rows of any number of targets, as `forward` does, errors included. Caches are of the decoder's layers. The gate
 * sees each row alone, so that no expert lacks room for one and a row's result is bit for bit independent of the others.
 */
export async function decode(
  model: Seq2SeqModel,
  rows: readonly TargetRow[],
  experts: ExpertDispatch,
  observe: ForwardObserver = {},
): Promise<ForwardResult> {
  const { config, weights } = model;
  checkQueries(rows, config.vocabSize);
  const masks = settleMasks(rows, config.vocabSize);
  const { encoderLayers, positions } = partsOf(config).seq2seq;
  const x = embeddedTargets(model, rows);
  const claim = claimPositions(config, rows);
  const faults = new RowFaults(rows.map(({ cache }) => cache));
  const { positionBias } = weights;
  const bias =
    positionBias && positions.kind === 'buckets' ? new PositionBias(positionBias.decoder, false, positions) : undefined;
  const pass = { config, rows, bias, experts, observe, faults };
  faults.check(x, (row) => `the embedding of token ${rows[row]!.tokenId}`);
  try {
    for (const [i, layer] of weights.layers.slice(encoderLayers).entries()) {
      await decoderLayer(pass, rows, layer, i, x);
    }
  } catch (error) {
    claim.rollback();
    throw error;
  }
  claim.release();
  const hidden = normed(x, weights.norm, config);
  const settled = await masksAfterLayers(masks, config.numHiddenLayers - 1, observe);
  faults.check(hidden, () => 'the norm before the output head');
  const headed = head({ config, weights: { lmHead: weights.embedTokens } }, rows, hidden, settled);
  return faults.into({ ...headed, hidden, normed: hidden });
}

async function decoderLayer(
  pass: StackPass,
  rows: readonly TargetRow[],
  weights: Seq2SeqLayerWeights,
  index: number,
  x: Float32Array,
): Promise<void> {
  const { config, faults } = pass;
  const { attention, seq2seq } = partsOf(config);
  const layer = seq2seq.encoderLayers + index;
  const { cross } = weights;
  if (!cross) throw new TypeError(`layer ${layer} has no attention to the source`);
  attendToOwn(pass, weights, index, x);
  faults.check(x, () => `what attention gives in layer ${layer}`);
  const seen = rows.map(({ source }) => ({ position: 0, cache: source.cache, last: source.length - 1 }));
  const h = normed(x, cross.norm, config);
  addInPlace(x, attendCached(attention, cross.attention, attentionInput({ config, rows: seen }, h, index)));
  faults.check(x, () => `what attention to the source gives in layer ${layer}`);
  await addFfn(pass, weights, layer, x);
}

/** [numRows, hiddenSize] */
function embeddedTargets(model: Seq2SeqModel, rows: readonly TargetRow[]): Float32Array {
  const { hiddenSize } = model.config;
  const x = embed(
    model,
    rows.map(({ tokenId }) => tokenId),
  );
  const { positions } = partsOf(model.config).seq2seq;
  if (positions.kind !== 'sinusoid') return x;
  const { padTokenId } = positions;
  // With a cache, transformers counts a padding token among those before a row, but gives it no position itself.
  for (const [r, { tokenId, position }] of rows.entries()) {
    const place = tokenId === padTokenId ? padTokenId : padTokenId + 1 + position;
    addSinusoid(x.subarray(r * hiddenSize, (r + 1) * hiddenSize), place, padTokenId);
  }
  return x;
}

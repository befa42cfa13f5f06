import type { AttentionInput, RowPlace } from './attention.ts';
import type { ExpertDispatch } from './dispatch.ts';
import { swigluExpert } from './expert.ts';
import { type ExpertChooser, gate } from './gate.ts';
import { gqa } from './gqa.ts';
import { addInPlace, rmsNorm } from './math.ts';
import { mla } from './mla.ts';
import type { ModelConfig } from './model-config.ts';
import { ropeAngles, type RopeAngles } from './rope.ts';
import type { AttentionWeights, FfnWeights, LayerWeights } from './weights.ts';

/** What a caller may watch; arrays are the forward's own: read them at once, change nothing. */
export interface ForwardObserver {
  /** topkIdx and topkWeights [numRows, numExpertsPerTok], before they are dispatched. */
  gate?(layer: number, topkIdx: Uint16Array, topkWeights: Float32Array): void;
  /** From now on the pass has nothing to do but await the lap of this layer; not called for a lap that is back by then. */
  waits?(layer: number): void;
  /** The lap of this layer is back or has failed, and the pass goes on or ends. */
  resumes?(layer: number): void;
  /** A piece of the engine's own work has ended: where an engine does its work elsewhere than on the calling thread. */
  segment?(segment: ForwardSegment): void;
}

/** Operations that an engine's threads have run together. Times on the clock of `performance.now()`, in milliseconds. */
export interface ForwardSegment {
  /** What they led to. */
  kind: 'gate' | 'shared-expert' | 'head' | 'move';
  /** The last layer that they belong to; numHiddenLayers is the MTP module's. */
  layer: number;
  numRows: number;
  /** When they were ready to run; until `startedMs` another pass's ran. */
  queuedMs: number;
  startedMs: number;
  endedMs: number;
}

/** One pass over a batch: what all its layers need. */
export interface Batch {
  config: ModelConfig;
  rows: readonly RowPlace[];
  angles: RopeAngles;
  experts: ExpertDispatch;
  observe: ForwardObserver;
  claim: Claim;
}

/** A pass's hold on the positions of its rows. */
export interface Claim {
  /** The pass has succeeded: its sequences may be in another. */
  release(): void;
  /** It has failed: forget what it has written into the caches, and release them. */
  rollback(): void;
}

/** A cache as a batch sees it. */
interface GrowingCache {
  readonly length: number;
  append(count: number): void;
  truncate(length: number): void;
}

/** Caches of passes that have not ended, of whichever engine. */
const inPass = new WeakSet<GrowingCache>();

/**
 * Check that the rows of each sequence are contiguous and start at its cache's length, that no other pass has the sequence, and
 * make room for them. Throws a RangeError, before anything has changed, naming the row.
 */
export function claimPositions<Cache extends GrowingCache>(
  { maxPositionEmbeddings }: Pick<ModelConfig, 'maxPositionEmbeddings'>,
  rows: readonly { position: number; cache: Cache }[],
): Claim {
  const lengths = new Map<Cache, { before: number; next: number }>();
  for (const [r, { position, cache }] of rows.entries()) {
    if (inPass.has(cache))
      throw new RangeError(`row ${r}: its sequence is in another pass; await that before its next positions`);
    const length = lengths.get(cache) ?? { before: cache.length, next: cache.length };
    if (position !== length.next) {
      throw new RangeError(`row ${r}: position ${position}, but its sequence continues at ${length.next}`);
    }
    if (position >= maxPositionEmbeddings) {
      throw new RangeError(`row ${r}: position ${position} is outside the context of ${maxPositionEmbeddings}`);
    }
    length.next++;
    lengths.set(cache, length);
  }
  // A cache may have been given up meanwhile, or (out of memory) not have grown: none is left longer than it was.
  const release = (): void => lengths.forEach((_, cache) => inPass.delete(cache));
  const rollback = (): void => {
    lengths.forEach(({ before }, cache) => cache.truncate(Math.min(before, cache.length)));
    release();
  };
  try {
    for (const [cache, { before, next }] of lengths) {
      cache.append(next - before);
      inPass.add(cache);
    }
  } catch (error) {
    rollback();
    throw error;
  }
  return { release, rollback };
}

/** Open a pass over a batch: positions claimed, angles computed. Throws as `claimPositions` does. */
export function openBatch(
  config: ModelConfig,
  rows: readonly RowPlace[],
  experts: ExpertDispatch,
  observe: ForwardObserver,
): Batch {
  const claim = claimPositions(config, rows);
  const positions = rows.map((row) => row.position);
  return { config, rows, angles: ropeAngles(positions, config.rope), experts, observe, claim };
}

/**
 * One decoder layer, in place: x += attention(norm(x)); x += ffn(norm(x)). x [numRows, hiddenSize].
 * `layer` names the layer to the experts, `cacheLayer` its place in the caches.
 */
export async function decoderLayer(
  batch: Batch,
  weights: LayerWeights,
  layer: number,
  cacheLayer: number,
  x: Float32Array,
): Promise<void> {
  const { rows, angles } = batch;
  const { hiddenSize, rmsNormEps } = batch.config;
  const normed = rmsNorm(x, weights.inputLayernorm, rows.length, rmsNormEps);
  const input = { x: normed, hiddenSize, rows, angles, cacheLayer, rmsNormEps };
  addInPlace(x, attention(batch.config, weights.attention, input));
  const h = rmsNorm(x, weights.postAttentionLayernorm, rows.length, rmsNormEps);
  addInPlace(x, await ffn(batch, weights.ffn, layer, h));
}

/** The family's attention: [numRows, hiddenSize] → [numRows, hiddenSize]. */
function attention({ attention: config }: ModelConfig, weights: AttentionWeights, input: AttentionInput): Float32Array {
  if (config.kind === 'mla' && weights.kind === 'mla') return mla(config, weights, input);
  if (config.kind === 'gqa' && weights.kind === 'gqa') return gqa(config, weights, input);
  throw new TypeError(`weights of ${weights.kind} attention in a model of ${config.kind} attention`);
}

/** x [numRows, hiddenSize] → [numRows, hiddenSize]. The shared expert is computed while the lap is out. */
async function ffn(batch: Batch, weights: FfnWeights, layer: number, x: Float32Array): Promise<Float32Array> {
  const { config, experts } = batch;
  const numRows = batch.rows.length;
  if (weights.kind === 'dense') return swigluExpert(x, weights.mlp, numRows, config.hiddenSize);
  const choose: ExpertChooser | undefined =
    experts.choose && ((row, scores, allowed) => experts.choose!(layer, row, scores, allowed));
  const { topkIdx, topkWeights } = gate(config, weights.gate, x, numRows, choose);
  batch.observe.gate?.(layer, topkIdx, topkWeights);
  const handle = experts.dispatch({ layer, numRows, x, topkIdx, topkWeights });
  const y = weights.shared ? swigluExpert(x, weights.shared, numRows, config.hiddenSize) : new Float32Array(x.length);
  batch.observe.waits?.(layer);
  const routed = await handle.combine().finally(() => batch.observe.resumes?.(layer));
  if (routed.length !== x.length) {
    throw new RangeError(
      `layer ${layer}: combine() returned ${routed.length} values for ${numRows} rows of ${config.hiddenSize}`,
    );
  }
  addInPlace(y, routed);
  return y;
}

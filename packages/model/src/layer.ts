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
}

/** One pass over a batch: what all its layers need. */
export interface Batch {
  config: ModelConfig;
  rows: readonly RowPlace[];
  angles: RopeAngles;
  experts: ExpertDispatch;
  observe: ForwardObserver;
  /** Forget what this pass has written into the caches. */
  rollback(): void;
}

/** A cache as a batch sees it. */
interface GrowingCache {
  readonly length: number;
  append(count: number): void;
  truncate(length: number): void;
}

/**
 * Check that the rows of each sequence are contiguous and start at its cache's length, and make room for them. Returns the call
 * that takes them back. Throws a RangeError, before anything has changed, naming the row.
 */
export function claimPositions<Cache extends GrowingCache>(
  { maxPositionEmbeddings }: Pick<ModelConfig, 'maxPositionEmbeddings'>,
  rows: readonly { position: number; cache: Cache }[],
): () => void {
  const lengths = new Map<Cache, { before: number; next: number }>();
  for (const [r, { position, cache }] of rows.entries()) {
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
  const rollback = (): void => lengths.forEach(({ before }, cache) => cache.truncate(Math.min(before, cache.length)));
  try {
    for (const [cache, { before, next }] of lengths) cache.append(next - before);
  } catch (error) {
    rollback();
    throw error;
  }
  return rollback;
}

/** Open a pass over a batch: positions claimed, angles computed. Throws as `claimPositions` does. */
export function openBatch(
  config: ModelConfig,
  rows: readonly RowPlace[],
  experts: ExpertDispatch,
  observe: ForwardObserver,
): Batch {
  const rollback = claimPositions(config, rows);
  const positions = rows.map((row) => row.position);
  return { config, rows, angles: ropeAngles(positions, config.rope), experts, observe, rollback };
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
  const routed = await handle.combine();
  if (routed.length !== x.length) {
    throw new RangeError(
      `layer ${layer}: combine() returned ${routed.length} values for ${numRows} rows of ${config.hiddenSize}`,
    );
  }
  addInPlace(y, routed);
  return y;
}

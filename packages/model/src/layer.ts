import type { AttentionInput, RowPlace } from './attention.ts';
import { type AdaptedRow, LayerAdapters } from './adapters/layer-adapters.ts';
import type { ExpertDispatch } from './dispatch.ts';
import { swigluExpert } from './expert.ts';
import { gateLogits, type GateWeights } from './gate.ts';
import type { ForwardObserver } from './forward-observer.ts';
import { gqa } from './gqa.ts';
import type { RowSlots } from './kv-cache.ts';
import { addInPlace, addScaled, linear, rmsNorm, sigmoid } from './math.ts';
import { mla } from './mla.ts';
import type { ModelConfig } from './model-config.ts';
import { type RoutedPass, routeRows } from './routing.ts';
import { RowFaults } from './row-faults.ts';
import { ropeAngles, type RopeAngles } from './rope.ts';
import type { AttentionWeights, FfnWeights, LayerWeights } from './weights.ts';

/** What all layers of one pass over a batch need. */
export interface Batch {
  config: ModelConfig;
  rows: readonly RowPlace[];
  angles: RopeAngles;
  /** Each row's adapter; undefined if no row has one. */
  adapters: readonly (AdaptedRow | undefined)[] | undefined;
  experts: ExpertDispatch;
  observe: ForwardObserver;
  claim: Claim;
  faults: RowFaults;
}

/** A pass's claim to the positions of its rows. */
export interface Claim {
  /** Ends a successful pass: its sequences may take part in another. */
  release(): void;
  /** Ends a failed pass: removes its positions from the caches, and releases them. */
  rollback(): void;
}

interface GrowingCache {
  readonly length: number;
  append(count: number): void;
  truncate(length: number): void;
}

/** Caches of passes that have not ended, of all engines. */
const inPass = new WeakSet<GrowingCache>();

/**
 * Checks that the rows of each sequence take the slots from its cache's length on and that no other pass has the sequence,
 * and makes room for them. Throws a RangeError naming the row, before anything has changed.
 */
export function claimPositions<Cache extends GrowingCache>(
  { maxPositionEmbeddings }: Pick<ModelConfig, 'maxPositionEmbeddings'>,
  rows: readonly { position: number; cache: Cache; slots?: RowSlots }[],
): Claim {
  const lengths = new Map<Cache, { before: number; next: number }>();
  for (const [r, { position, cache, slots }] of rows.entries()) {
    if (inPass.has(cache))
      throw new RangeError(`row ${r}: its sequence is in another pass; await that before its next positions`);
    const length = lengths.get(cache) ?? { before: cache.length, next: cache.length };
    if (slots) checkSlots(r, position, slots, length.next);
    else if (position !== length.next) {
      throw new RangeError(`row ${r}: position ${position}, but its sequence continues at ${length.next}`);
    }
    if (position >= maxPositionEmbeddings) {
      throw new RangeError(`row ${r}: position ${position} is outside the context of ${maxPositionEmbeddings}`);
    }
    length.next++;
    lengths.set(cache, length);
  }
  // Meanwhile a cache may have been freed, or out of memory it may not have grown: none ends longer than it was.
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

/** Throws a RangeError unless these slots are ascending, none lies before its position, and the last is the next free one. */
function checkSlots(r: number, position: number, slots: readonly number[], next: number): void {
  const first = position - slots.length + 1;
  const inOrder = slots.every(
    (slot, i) => Number.isInteger(slot) && slot >= first + i && (i === 0 || slot > slots[i - 1]!),
  );
  if (first >= 0 && inOrder && slots.at(-1) === next) return;
  throw new RangeError(
    `row ${r}: slots ${slots.join(', ')} for position ${position}, but the next free slot is ${next}`,
  );
}

/** Opens a pass over a batch: claims its positions and computes its angles. Throws as `claimPositions` does. */
export function openBatch(
  config: ModelConfig,
  rows: readonly RowPlace[],
  experts: ExpertDispatch,
  observe: ForwardObserver,
  adapters?: Batch['adapters'],
): Batch {
  const claim = claimPositions(config, rows);
  const positions = rows.map((row) => row.position);
  const faults = new RowFaults(rows.map((row) => row.cache));
  return { config, rows, angles: ropeAngles(positions, config.rope), adapters, experts, observe, claim, faults };
}

/**
 * Computes one decoder layer in place: x += attention(norm(x)); x += ffn(norm(x)). x [numRows, hiddenSize].
 * `layer` is the layer's index for the experts, `cacheLayer` its index in the caches.
 */
export async function decoderLayer(
  batch: Batch,
  weights: LayerWeights,
  layer: number,
  cacheLayer: number,
  x: Float32Array,
): Promise<void> {
  const { config, rows } = batch;
  const normed = rmsNorm(x, weights.inputLayernorm, rows.length, config.rmsNormEps);
  await decoderLayerOn(batch, weights, { layer, cacheLayer, normed }, x);
}

/** The same, from what its attention reads, `normed`. */
export async function decoderLayerOn(
  batch: Batch,
  weights: LayerWeights,
  { layer, cacheLayer, normed }: { layer: number; cacheLayer: number; normed: Float32Array },
  x: Float32Array,
): Promise<void> {
  const { rows, angles } = batch;
  const adapters = batch.adapters && new LayerAdapters(batch.adapters, layer);
  const { hiddenSize, rmsNormEps, residualMultiplier, layerAttention } = batch.config;
  const place = layerAttention[layer]!;
  const input = { x: normed, hiddenSize, rows, angles, cacheLayer, rmsNormEps, layer: place, adapters };
  addScaled(x, attention(batch.config, weights.attention, input), residualMultiplier);
  batch.faults.check(x, () => `what attention gives in layer ${layer}`);
  const h = rmsNorm(x, weights.postAttentionLayernorm, rows.length, rmsNormEps);
  batch.faults.check(h, () => `the norm after attention in layer ${layer}`);
  addScaled(x, await ffn(batch, weights.ffn, layer, h, adapters), residualMultiplier);
  batch.faults.check(
    x,
    () => `what the ${weights.ffn.kind === 'dense' ? 'FFN' : 'shared expert'} gives in layer ${layer}`,
  );
}

/** The family's attention; takes and returns [numRows, hiddenSize]. */
function attention({ attention: config }: ModelConfig, weights: AttentionWeights, input: AttentionInput): Float32Array {
  if (config.kind === 'mla' && weights.kind === 'mla') return mla(config, weights, input);
  if (config.kind === 'gqa' && weights.kind === 'gqa') return gqa(config, weights, input);
  throw new TypeError(`weights of ${weights.kind} attention in a model of ${config.kind} attention`);
}

/** Takes and returns [numRows, hiddenSize]. The shared expert is computed while the lap is in flight. */
async function ffn(
  batch: Batch,
  weights: FfnWeights,
  layer: number,
  x: Float32Array,
  adapters: LayerAdapters | undefined,
): Promise<Float32Array> {
  const { config } = batch;
  const numRows = batch.rows.length;
  if (weights.kind === 'dense') return swigluExpert(x, weights.mlp, numRows, config.hiddenSize, adapters);
  const shared = (): Float32Array => sharedExpert(config, weights, x, numRows, adapters);
  return withRoutedExperts({ ...batch, adapters }, weights.gate, layer, x, shared);
}

/** The routed experts' sums for x [numRows, hiddenSize], added to what `meanwhile` returns, which is computed while the lap is in flight. */
export async function withRoutedExperts(
  pass: RoutedPass & { adapters?: LayerAdapters | undefined },
  weights: GateWeights,
  layer: number,
  x: Float32Array,
  meanwhile: () => Float32Array,
): Promise<Float32Array> {
  const { config, experts, observe, adapters } = pass;
  const logits = gateLogits(config, weights, x, x.length / config.hiddenSize, adapters);
  const { call, rowSums } = routeRows(pass, { layer, x, logits, bias: weights.bias });
  const handle = experts.dispatch(call);
  const y = meanwhile();
  observe.waits?.(layer);
  const combined = await handle.combine().finally(() => observe.resumes?.(layer));
  addInPlace(y, rowSums(combined));
  return y;
}

/** [numRows, hiddenSize], zeros without a shared expert. */
function sharedExpert(
  { hiddenSize }: ModelConfig,
  { shared, sharedGate }: Extract<FfnWeights, { kind: 'moe' }>,
  x: Float32Array,
  numRows: number,
  adapters: LayerAdapters | undefined,
): Float32Array {
  if (!shared) return new Float32Array(x.length);
  const y = swigluExpert(x, shared, numRows, hiddenSize, adapters);
  if (!sharedGate) return y;
  const logits = linear(x, sharedGate, numRows, hiddenSize, 1);
  adapters?.add('sharedGate', x, logits);
  const factors = logits.map(sigmoid);
  return y.map((value, i) => value * factors[Math.floor(i / hiddenSize)]!);
}

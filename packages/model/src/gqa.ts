import { type Attention, type AttentionInput, firstVisible, type RowPlace, slotOf } from './attention.ts';
import { addBias } from './expert.ts';
import { addWeighted, dot, linear, rmsNorm, softmax } from './math.ts';
import type { GqaConfig, LayerAttention } from './model-config.ts';
import { rotate } from './rope.ts';

export interface GqaWeights {
  kind: 'gqa';
  /** [numHeads × headDim, hiddenSize] */
  qProj: Float32Array;
  /** [numKeyValueHeads × headDim, hiddenSize] */
  kProj: Float32Array;
  /** [numKeyValueHeads × headDim, hiddenSize] */
  vProj: Float32Array;
  /** [hiddenSize, numHeads × headDim] */
  oProj: Float32Array;
  /** [numHeads × headDim], [numKeyValueHeads × headDim] twice, [hiddenSize]; null where a projection has none. */
  biases: {
    q: Float32Array | null;
    k: Float32Array | null;
    v: Float32Array | null;
    o: Float32Array | null;
  };
  /** [numHeads]; null without sinks. */
  sinks: Float32Array | null;
  /** [headDim] or the whole projection's width, depending on `qkNorm`; null without a norm. */
  qkNorms: { q: Float32Array; k: Float32Array } | null;
}

/** Grouped-query attention, with [k | v] of each position in the cache, keys rotated. */
export const gqa: Attention<GqaConfig, GqaWeights> = (config, weights, input) => {
  writeKeysAndValues(config, weights, input);
  return attendCached(config, weights, input);
};

/** The same, to keys and values that are in the caches already. */
export const attendCached: Attention<GqaConfig, GqaWeights> = (config, weights, input) => {
  const { numAttentionHeads: heads, headDim } = config;
  const { x, rows, hiddenSize, layer } = input;
  const inputSize = x.length / rows.length;
  const projected = linear(x, weights.qProj, rows.length, inputSize, heads * headDim);
  input.adapters?.add('q', x, projected);
  const q = addBias(projected, weights.biases.q);
  const queries = positioned(config, q, weights.qkNorms?.q, input);
  const out = new Float32Array(rows.length * heads * headDim);
  for (const [r, row] of rows.entries()) {
    const query = queries.subarray(r * heads * headDim, (r + 1) * heads * headDim);
    warm(config, query, row.position, layer);
    out.set(attend(config, weights, query, row, input), r * heads * headDim);
  }
  const o = linear(out, weights.oProj, rows.length, heads * headDim, hiddenSize);
  input.adapters?.add('o', out, o);
  return addBias(o, weights.biases.o);
};

/** Applies a layer's temperature to a row's queries. */
function warm({ temperature }: GqaConfig, query: Float32Array, position: number, { rope }: LayerAttention): void {
  if (!temperature || rope) return;
  const factor = queryTemperature(temperature, position);
  for (let i = 0; i < query.length; i++) query[i] = query[i]! * factor;
}

/** Llama 4's factor of the queries at a position, in layers without RoPE. */
export function queryTemperature({ floor, scale }: NonNullable<GqaConfig['temperature']>, position: number): number {
  return 1 + scale * Math.log1p(Math.floor((position + 1) / floor));
}

/** Projected queries or keys, clipped, normed and rotated, with the norm before or after RoPE. */
function positioned(
  config: GqaConfig,
  projected: Float32Array,
  norm: Float32Array | undefined,
  { rows, angles, rmsNormEps, layer }: AttentionInput,
): Float32Array {
  const { headDim, normAfterRope } = config;
  const normed = (x: Float32Array): Float32Array => normAndClip(config, x, norm, rmsNormEps, layer.rope);
  const x = normAfterRope ? projected : normed(projected);
  const width = x.length / rows.length;
  if (layer.rope) {
    for (let start = 0; start < x.length; start += headDim) rotate(x, start, angles, Math.floor(start / width));
  }
  return normAfterRope ? normed(x) : x;
}

/** Writes the rows' keys and values into their caches. */
export function writeKeysAndValues(config: GqaConfig, weights: GqaWeights, input: AttentionInput): void {
  const { x, rows, cacheLayer, adapters } = input;
  const inputSize = x.length / rows.length;
  const { numKeyValueHeads: kvHeads, headDim } = config;
  const width = kvHeads * headDim;
  const k = linear(x, weights.kProj, rows.length, inputSize, width);
  adapters?.add('k', x, k);
  addBias(k, weights.biases.k);
  const keys = positioned(config, k, weights.qkNorms?.k, input);
  const v = linear(x, weights.vProj, rows.length, inputSize, width);
  adapters?.add('v', x, v);
  addBias(v, weights.biases.v);
  const values = clip(config, v);
  const both = new Float32Array(2 * width);
  for (const [r, row] of rows.entries()) {
    both.set(keys.subarray(r * width, (r + 1) * width));
    both.set(values.subarray(r * width, (r + 1) * width), width);
    row.cache.write(cacheLayer, slotOf(row), both, 0);
  }
}

/** Clamps a projection [numRows, numHeads × headDim] after its norm, which is taken in pieces as long as the norm's weight. */
function normAndClip(
  config: GqaConfig,
  projected: Float32Array,
  norm: Float32Array | undefined,
  rmsNormEps: number,
  hasRope: boolean,
): Float32Array {
  const gain = config.qkNorm === 'l2' && hasRope ? new Float32Array(config.headDim).fill(1) : norm;
  return clip(config, gain ? rmsNorm(projected, gain, projected.length / gain.length, rmsNormEps) : projected);
}

function clip({ clipQkv }: GqaConfig, x: Float32Array): Float32Array {
  if (clipQkv !== null) for (let i = 0; i < x.length; i++) x[i] = Math.min(Math.max(x[i]!, -clipQkv), clipQkv);
  return x;
}

/** Σ_t p_t v_t for each head of one row, [numHeads, headDim], from its rotated queries [numHeads, headDim]. */
function attend(
  config: GqaConfig,
  { sinks }: GqaWeights,
  query: Float32Array,
  { position, cache, slots, last = position }: RowPlace,
  { cacheLayer, layer, positionBias }: AttentionInput,
): Float32Array {
  const { numAttentionHeads: heads, numKeyValueHeads: kvHeads, headDim, softmaxScale } = config;
  const segments = cache.segments(cacheLayer, last + 1, slots);
  const first = firstVisible(layer.span, position);
  const width = 2 * kvHeads * headDim;
  const mixed = new Float64Array(heads * headDim);
  // The last one is the sink's, and has no value.
  const p = new Float64Array(last + 2);
  for (let h = 0; h < heads; h++) {
    const key = Math.floor(h / (heads / kvHeads)) * headDim;
    p.fill(Number.NEGATIVE_INFINITY);
    p[last + 1] = sinks ? sinks[h]! : Number.NEGATIVE_INFINITY;
    for (const { start, count, values } of segments) {
      for (let t = Math.max(0, first - start); t < count; t++) {
        const score = softmaxScale * dot(query, h * headDim, values, t * width + key, headDim);
        p[start + t] = score + (positionBias ? positionBias.of(h, start + t - position) : 0);
      }
    }
    softmax(p);
    const sum = mixed.subarray(h * headDim, (h + 1) * headDim);
    for (const { start, count, values } of segments) {
      addWeighted(sum, p.subarray(start, start + count), values, kvHeads * headDim + key, width);
    }
  }
  return Float32Array.from(mixed);
}

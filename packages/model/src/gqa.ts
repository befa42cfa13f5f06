import type { Attention, AttentionInput, RowPlace } from './attention.ts';
import { addWeighted, dot, linear, rmsNorm, softmax } from './math.ts';
import type { GqaConfig } from './model-config.ts';
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
  /** [headDim] or the whole projection's width, depending on `qkNorm`; null without a norm. */
  qkNorms: { q: Float32Array; k: Float32Array } | null;
}

/** Grouped-query attention, with [k | v] of each position in the cache, keys rotated. */
export const gqa: Attention<GqaConfig, GqaWeights> = (config, weights, input) => {
  const { numAttentionHeads: heads, headDim } = config;
  const { x, rows, angles, cacheLayer, hiddenSize } = input;
  writeKeysAndValues(config, weights, input);
  const q = linear(x, weights.qProj, rows.length, hiddenSize, heads * headDim);
  const queries = normAndClip(config, q, weights.qkNorms?.q, input.rmsNormEps);
  const out = new Float32Array(rows.length * heads * headDim);
  for (const [r, row] of rows.entries()) {
    const query = queries.subarray(r * heads * headDim, (r + 1) * heads * headDim);
    for (let h = 0; h < heads; h++) rotate(query, h * headDim, angles, r);
    out.set(attend(config, query, row, cacheLayer), r * heads * headDim);
  }
  return linear(out, weights.oProj, rows.length, heads * headDim, hiddenSize);
};

function writeKeysAndValues(
  config: GqaConfig,
  weights: GqaWeights,
  { x, rows, angles, cacheLayer, hiddenSize, rmsNormEps }: AttentionInput,
): void {
  const { numKeyValueHeads: kvHeads, headDim } = config;
  const width = kvHeads * headDim;
  const k = linear(x, weights.kProj, rows.length, hiddenSize, width);
  const keys = normAndClip(config, k, weights.qkNorms?.k, rmsNormEps);
  const values = normAndClip(config, linear(x, weights.vProj, rows.length, hiddenSize, width), undefined, rmsNormEps);
  const both = new Float32Array(2 * width);
  for (const [r, { position, cache }] of rows.entries()) {
    both.set(keys.subarray(r * width, (r + 1) * width));
    for (let h = 0; h < kvHeads; h++) rotate(both, h * headDim, angles, r);
    both.set(values.subarray(r * width, (r + 1) * width), width);
    cache.write(cacheLayer, position, both, 0);
  }
}

/** Normalises a projection [numRows, numHeads × headDim] in pieces as long as the norm's weight, then clamps it. */
function normAndClip(
  { clipQkv }: GqaConfig,
  projected: Float32Array,
  norm: Float32Array | undefined,
  rmsNormEps: number,
): Float32Array {
  const out = norm ? rmsNorm(projected, norm, projected.length / norm.length, rmsNormEps) : projected;
  if (clipQkv !== null) {
    for (let i = 0; i < out.length; i++) out[i] = Math.min(Math.max(out[i]!, -clipQkv), clipQkv);
  }
  return out;
}

/** Σ_t p_t v_t for each head of one row, [numHeads, headDim], from its rotated queries [numHeads, headDim]. */
function attend(
  config: GqaConfig,
  query: Float32Array,
  { position, cache }: RowPlace,
  cacheLayer: number,
): Float32Array {
  const { numAttentionHeads: heads, numKeyValueHeads: kvHeads, headDim, softmaxScale } = config;
  const segments = cache.segments(cacheLayer, position + 1);
  const width = 2 * kvHeads * headDim;
  const mixed = new Float64Array(heads * headDim);
  const p = new Float64Array(position + 1);
  for (let h = 0; h < heads; h++) {
    const key = Math.floor(h / (heads / kvHeads)) * headDim;
    for (const { start, count, values } of segments) {
      for (let t = 0; t < count; t++) {
        p[start + t] = softmaxScale * dot(query, h * headDim, values, t * width + key, headDim);
      }
    }
    softmax(p);
    const sum = mixed.subarray(h * headDim, (h + 1) * headDim);
    for (const { start, values } of segments) {
      addWeighted(sum, p.subarray(start), values, kvHeads * headDim + key, width);
    }
  }
  return Float32Array.from(mixed);
}

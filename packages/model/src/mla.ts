import type { LatentKvCache } from './latent-kv-cache.ts';
import { linear, rmsNorm, softmax } from './math.ts';
import type { ModelConfig } from './model-config.ts';
import { rotateInterleaved, type RopeAngles } from './rope.ts';

export interface MlaWeights {
  /** How queries are made: through a latent, or by one projection where `qLoraRank` is null. */
  q: { aProj: Float32Array; /** [qLoraRank] */ aLayernorm: Float32Array; bProj: Float32Array } | { proj: Float32Array };
  /** [kvLoraRank + qkRopeHeadDim, hiddenSize] */
  kvAProjWithMqa: Float32Array;
  /** [kvLoraRank] */
  kvALayernorm: Float32Array;
  /** W_UK of each head, transposed so that absorbing it into a query is a row-wise product: [numHeads, kvLoraRank, qkNopeHeadDim] */
  wUkT: Float32Array;
  /** W_UV of each head: [numHeads, vHeadDim, kvLoraRank] */
  wUv: Float32Array;
  /** [hiddenSize, numHeads × vHeadDim] */
  oProj: Float32Array;
}

/** Where a row of the batch stands: its position in its sequence's cache. */
export interface RowPlace {
  position: number;
  cache: LatentKvCache;
}

/** The norms of the query and KV latents use this whatever `rms_norm_eps` says (as Hugging Face's modelling code). */
const LATENT_NORM_EPS = 1e-6;

/**
 * Split kv_b_proj [numHeads × (nope + v), kvLoraRank] into its parts: per head first `qkNopeHeadDim` rows of W_UK, then
 * `vHeadDim` rows of W_UV.
 */
export function splitKvB(config: ModelConfig, kvBProj: Float32Array): Pick<MlaWeights, 'wUkT' | 'wUv'> {
  const { numAttentionHeads: heads, qkNopeHeadDim: nope, vHeadDim, kvLoraRank } = config;
  const wUkT = new Float32Array(heads * kvLoraRank * nope);
  const wUv = new Float32Array(heads * vHeadDim * kvLoraRank);
  for (let h = 0; h < heads; h++) {
    const start = h * (nope + vHeadDim) * kvLoraRank;
    for (let n = 0; n < nope; n++) {
      for (let k = 0; k < kvLoraRank; k++) wUkT[(h * kvLoraRank + k) * nope + n] = kvBProj[start + n * kvLoraRank + k]!;
    }
    const values = kvBProj.subarray(start + nope * kvLoraRank, start + (nope + vHeadDim) * kvLoraRank);
    wUv.set(values, h * vHeadDim * kvLoraRank);
  }
  return { wUkT, wUv };
}

/**
 * Multi-head latent attention in its absorbed form (DeepSeek-V2 paper §2.1.2): x [numRows, hiddenSize] → [numRows, hiddenSize].
 * Writes each row's [c | k_pe] into its cache at (`cacheLayer`, position), then lets it attend to all positions ≤ its own.
 */
export function mla(
  config: ModelConfig,
  weights: MlaWeights,
  x: Float32Array,
  rows: readonly RowPlace[],
  angles: RopeAngles,
  cacheLayer: number,
): Float32Array {
  const { numAttentionHeads: heads, qkNopeHeadDim: nope, qkRopeHeadDim: rope, vHeadDim, kvLoraRank } = config;
  writeLatents(config, weights, x, rows, angles, cacheLayer);
  const q = queries(config, weights, x, rows.length);
  const out = new Float32Array(rows.length * heads * vHeadDim);
  for (const [r, row] of rows.entries()) {
    const query = q.subarray(r * heads * (nope + rope), (r + 1) * heads * (nope + rope));
    for (let h = 0; h < heads; h++) rotateInterleaved(query, h * (nope + rope) + nope, angles, r);
    const mixed = attend(config, absorb(config, weights, query), row, cacheLayer);
    for (let h = 0; h < heads; h++) {
      const wUv = weights.wUv.subarray(h * vHeadDim * kvLoraRank);
      const latent = mixed.subarray(h * kvLoraRank);
      linear(latent, wUv, 1, kvLoraRank, vHeadDim, out.subarray((r * heads + h) * vHeadDim));
    }
  }
  return linear(out, weights.oProj, rows.length, heads * vHeadDim, config.hiddenSize);
}

/** Compress each row to [c | k_pe] and store it. */
function writeLatents(
  config: ModelConfig,
  weights: MlaWeights,
  x: Float32Array,
  rows: readonly RowPlace[],
  angles: RopeAngles,
  cacheLayer: number,
): void {
  const { kvLoraRank } = config;
  const width = kvLoraRank + config.qkRopeHeadDim;
  const a = linear(x, weights.kvAProjWithMqa, rows.length, config.hiddenSize, width);
  for (const [r, { position, cache }] of rows.entries()) {
    const latent = a.subarray(r * width, r * width + kvLoraRank);
    latent.set(rmsNorm(latent, weights.kvALayernorm, 1, LATENT_NORM_EPS));
    rotateInterleaved(a, r * width + kvLoraRank, angles, r);
    cache.write(cacheLayer, position, a, r * width);
  }
}

/** → [numRows, numHeads, nope + rope], not yet rotated. */
function queries(config: ModelConfig, { q }: MlaWeights, x: Float32Array, numRows: number): Float32Array {
  const outDim = config.numAttentionHeads * (config.qkNopeHeadDim + config.qkRopeHeadDim);
  if ('proj' in q) return linear(x, q.proj, numRows, config.hiddenSize, outDim);
  const rank = q.aLayernorm.length;
  const latent = rmsNorm(linear(x, q.aProj, numRows, config.hiddenSize, rank), q.aLayernorm, numRows, LATENT_NORM_EPS);
  return linear(latent, q.bProj, numRows, rank, outDim);
}

/**
 * One row's queries [numHeads, nope + rope] → [numHeads, kvLoraRank + rope]: W_UKᵀ q_nope beside q_pe, so that one product with
 * [c | k_pe] is the whole score.
 */
function absorb(config: ModelConfig, weights: MlaWeights, query: Float32Array): Float32Array {
  const { numAttentionHeads: heads, qkNopeHeadDim: nope, qkRopeHeadDim: rope, kvLoraRank } = config;
  const out = new Float32Array(heads * (kvLoraRank + rope));
  for (let h = 0; h < heads; h++) {
    const q = query.subarray(h * (nope + rope), (h + 1) * (nope + rope));
    const absorbed = out.subarray(h * (kvLoraRank + rope), (h + 1) * (kvLoraRank + rope));
    linear(q, weights.wUkT.subarray(h * kvLoraRank * nope), 1, nope, kvLoraRank, absorbed);
    absorbed.set(q.subarray(nope), kvLoraRank);
  }
  return out;
}

/** One row's absorbed queries → Σ_t p_t c_t for each head, [numHeads, kvLoraRank]. */
function attend(
  config: ModelConfig,
  absorbed: Float32Array,
  { position, cache }: RowPlace,
  cacheLayer: number,
): Float32Array {
  const { numAttentionHeads: heads, qkNopeHeadDim: nope, qkRopeHeadDim: rope, kvLoraRank } = config;
  const scale = 1 / Math.sqrt(nope + rope);
  const length = position + 1;
  const segments = cache.segments(cacheLayer, length);
  /** [numHeads, length], scores and then probabilities. */
  const p = new Float64Array(heads * length);
  for (const { start, count, values } of segments) {
    const scores = linear(absorbed, values, heads, kvLoraRank + rope, count);
    for (let h = 0; h < heads; h++) {
      for (let t = 0; t < count; t++) p[h * length + start + t] = scale * scores[h * count + t]!;
    }
  }
  const mixed = new Float64Array(heads * kvLoraRank);
  for (let h = 0; h < heads; h++) {
    const probabilities = p.subarray(h * length, (h + 1) * length);
    softmax(probabilities);
    const sum = mixed.subarray(h * kvLoraRank, (h + 1) * kvLoraRank);
    for (const { start, values } of segments)
      addWeighted(sum, probabilities.subarray(start), values, kvLoraRank + rope);
  }
  return Float32Array.from(mixed);
}

/** sum += Σ_t p_t × the first `sum.length` values of row t: values [numPositions, width], p [≥ numPositions]. In order of t. */
function addWeighted(sum: Float64Array, p: Float64Array, values: Float32Array, width: number): void {
  const count = values.length / width;
  let t = 0;
  // Four positions at a time, so that `sum` is read and written once for all of them; the additions keep their order.
  for (; t + 3 < count; t += 4) {
    const [p0, p1, p2, p3] = [p[t]!, p[t + 1]!, p[t + 2]!, p[t + 3]!];
    const c0 = t * width;
    const c1 = c0 + width;
    const c2 = c1 + width;
    const c3 = c2 + width;
    for (let k = 0; k < sum.length; k++) {
      sum[k] = sum[k]! + p0 * values[c0 + k]! + p1 * values[c1 + k]! + p2 * values[c2 + k]! + p3 * values[c3 + k]!;
    }
  }
  for (; t < count; t++) {
    for (let k = 0; k < sum.length; k++) sum[k] = sum[k]! + p[t]! * values[t * width + k]!;
  }
}

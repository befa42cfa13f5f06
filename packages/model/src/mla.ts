import type { LatentKvCache } from './latent-kv-cache.ts';
import { dot, linear, rmsNorm, softmax } from './math.ts';
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
  const { numAttentionHeads: heads, qkNopeHeadDim: nope, qkRopeHeadDim: rope, vHeadDim } = config;
  writeLatents(config, weights, x, rows, angles, cacheLayer);
  const q = queries(config, weights, x, rows.length);
  const out = new Float32Array(rows.length * heads * vHeadDim);
  for (const [r, row] of rows.entries()) {
    for (let h = 0; h < heads; h++) {
      const start = (r * heads + h) * (nope + rope);
      rotateInterleaved(q, start + nope, angles, r);
      attendHead(
        config,
        weights,
        q.subarray(start, start + nope + rope),
        h,
        row,
        cacheLayer,
        out.subarray((r * heads + h) * vHeadDim),
      );
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

/** One head of one row: query [nope + rope] → out [vHeadDim]. */
function attendHead(
  config: ModelConfig,
  weights: MlaWeights,
  query: Float32Array,
  h: number,
  { position, cache }: RowPlace,
  cacheLayer: number,
  out: Float32Array,
): void {
  const { qkNopeHeadDim: nope, qkRopeHeadDim: rope, vHeadDim, kvLoraRank } = config;
  const scale = 1 / Math.sqrt(nope + rope);
  // [c-space query | q_pe], so that one product with [c | k_pe] is the whole score.
  const absorbed = new Float32Array(kvLoraRank + rope);
  linear(query, weights.wUkT.subarray(h * kvLoraRank * nope), 1, nope, kvLoraRank, absorbed);
  absorbed.set(query.subarray(nope), kvLoraRank);
  const length = position + 1;
  const scores = new Float64Array(length);
  for (let t = 0; t < length; t++) {
    scores[t] = scale * dot(absorbed, 0, cache.chunkOf(t), cache.offsetOf(cacheLayer, t), kvLoraRank + rope);
  }
  softmax(scores, length);
  const mixed = new Float64Array(kvLoraRank);
  for (let t = 0; t < length; t++) {
    const p = scores[t]!;
    const chunk = cache.chunkOf(t);
    const start = cache.offsetOf(cacheLayer, t);
    for (let k = 0; k < kvLoraRank; k++) mixed[k] = mixed[k]! + p * chunk[start + k]!;
  }
  const wUv = weights.wUv.subarray(h * vHeadDim * kvLoraRank);
  linear(Float32Array.from(mixed), wUv, 1, kvLoraRank, vHeadDim, out);
}

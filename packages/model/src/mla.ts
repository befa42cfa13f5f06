import { type Attention, type AttentionInput, type RowPlace, slotOf } from './attention.ts';
import type { LowRank } from './adapters/adapter.ts';
import { addWeighted, dot, linear, rmsNorm, softmax } from './math.ts';
import type { MlaConfig } from './model-config.ts';
import { rotate } from './rope.ts';

export interface MlaWeights {
  kind: 'mla';
  /** Queries come from a latent, or from one projection if `qLoraRank` is null. */
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

/** The norms of the query and KV latents use this epsilon instead of `rms_norm_eps`, as Hugging Face's modelling code does. */
export const LATENT_NORM_EPS = 1e-6;

/**
 * Splits kv_b_proj [numHeads × (nope + v), kvLoraRank] into its parts: per head first `qkNopeHeadDim` rows of W_UK, then
 * `vHeadDim` rows of W_UV.
 */
export function splitKvB(config: MlaConfig, kvBProj: Float32Array): Pick<MlaWeights, 'wUkT' | 'wUv'> {
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
 * Multi-head latent attention in its absorbed form (DeepSeek-V2 paper §2.1.2). Writes each row's [c | k_pe] into its cache at
 * (`cacheLayer`, position), then lets it attend to all positions ≤ its own.
 */
export const mla: Attention<MlaConfig, MlaWeights> = (config, weights, input) => {
  const { numAttentionHeads: heads, qkNopeHeadDim: nope, qkRopeHeadDim: rope, vHeadDim, kvLoraRank } = config;
  const { rows, angles, cacheLayer, hiddenSize, adapters } = input;
  writeLatents(config, weights, input);
  const q = queries(config, weights, input);
  const out = new Float32Array(rows.length * heads * vHeadDim);
  for (const [r, row] of rows.entries()) {
    const query = q.subarray(r * heads * (nope + rope), (r + 1) * heads * (nope + rope));
    for (let h = 0; h < heads; h++) rotate(query, h * (nope + rope) + nope, angles, r);
    const kvB = adapters?.of(r, 'kvB');
    const mixed = attend(config, absorb(config, weights, query, kvB), row, cacheLayer);
    for (let h = 0; h < heads; h++) {
      const wUv = weights.wUv.subarray(h * vHeadDim * kvLoraRank);
      const latent = mixed.subarray(h * kvLoraRank, (h + 1) * kvLoraRank);
      const values = out.subarray((r * heads + h) * vHeadDim, (r * heads + h + 1) * vHeadDim);
      linear(latent, wUv, 1, kvLoraRank, vHeadDim, values);
      if (kvB) addValues(kvB, latent, h * (nope + vHeadDim) + nope, values);
    }
  }
  const o = linear(out, weights.oProj, rows.length, heads * vHeadDim, hiddenSize);
  adapters?.add('o', out, o);
  return o;
};

/** q̃ += Aᵀ (B_UKᵀ q_nope), what an adapter of kv_b_proj adds to a head's absorbed query; `first` is the first row of its W_UK. */
function addAbsorbed({ a, b, rank, inDim }: LowRank, query: Float32Array, first: number, absorbed: Float32Array): void {
  for (let k = 0; k < rank; k++) {
    let inner = 0;
    for (let n = 0; n < query.length; n++) inner += query[n]! * b[(first + n) * rank + k]!;
    for (let c = 0; c < inDim; c++) absorbed[c] = absorbed[c]! + inner * a[k * inDim + c]!;
  }
}

/** v += B_UV (A c), what an adapter of kv_b_proj adds to a head's values; `first` is the first row of its W_UV. */
function addValues({ a, b, rank, inDim }: LowRank, latent: Float32Array, first: number, values: Float32Array): void {
  const inner = linear(latent, a, 1, inDim, rank);
  for (let v = 0; v < values.length; v++) values[v] = values[v]! + dot(inner, 0, b, (first + v) * rank, rank);
}

/** Compresses each row to [c | k_pe] and stores it. */
function writeLatents(
  config: MlaConfig,
  weights: MlaWeights,
  { x, rows, angles, cacheLayer, hiddenSize, adapters }: AttentionInput,
): void {
  const { kvLoraRank } = config;
  const width = kvLoraRank + config.qkRopeHeadDim;
  const a = linear(x, weights.kvAProjWithMqa, rows.length, hiddenSize, width);
  adapters?.add('kvA', x, a);
  for (const [r, row] of rows.entries()) {
    const latent = a.subarray(r * width, r * width + kvLoraRank);
    latent.set(rmsNorm(latent, weights.kvALayernorm, 1, LATENT_NORM_EPS));
    rotate(a, r * width + kvLoraRank, angles, r);
    row.cache.write(cacheLayer, slotOf(row), a, r * width);
  }
}

/** [numRows, numHeads, nope + rope], not yet rotated. */
function queries(config: MlaConfig, { q }: MlaWeights, input: AttentionInput): Float32Array {
  const { x, rows, hiddenSize, adapters } = input;
  const numRows = rows.length;
  const add: NonNullable<typeof adapters>['add'] = (target, from, y) => adapters?.add(target, from, y) ?? y;
  const outDim = config.numAttentionHeads * (config.qkNopeHeadDim + config.qkRopeHeadDim);
  if ('proj' in q) return add('q', x, linear(x, q.proj, numRows, hiddenSize, outDim));
  const rank = q.aLayernorm.length;
  const a = add('qA', x, linear(x, q.aProj, numRows, hiddenSize, rank));
  const latent = rmsNorm(a, q.aLayernorm, numRows, LATENT_NORM_EPS);
  return add('qB', latent, linear(latent, q.bProj, numRows, rank, outDim));
}

/**
 * One row's queries [numHeads, nope + rope] as [numHeads, kvLoraRank + rope]: W_UKᵀ q_nope beside q_pe, so that one product
 * with [c | k_pe] is the whole score.
 */
function absorb(config: MlaConfig, weights: MlaWeights, query: Float32Array, kvB: LowRank | undefined): Float32Array {
  const { numAttentionHeads: heads, qkNopeHeadDim: nope, qkRopeHeadDim: rope, kvLoraRank, vHeadDim } = config;
  const out = new Float32Array(heads * (kvLoraRank + rope));
  for (let h = 0; h < heads; h++) {
    const q = query.subarray(h * (nope + rope), (h + 1) * (nope + rope));
    const absorbed = out.subarray(h * (kvLoraRank + rope), (h + 1) * (kvLoraRank + rope));
    linear(q, weights.wUkT.subarray(h * kvLoraRank * nope), 1, nope, kvLoraRank, absorbed);
    if (kvB) addAbsorbed(kvB, q.subarray(0, nope), h * (nope + vHeadDim), absorbed);
    absorbed.set(q.subarray(nope), kvLoraRank);
  }
  return out;
}

/** Σ_t p_t c_t for each head of one row, [numHeads, kvLoraRank], from its absorbed queries. */
function attend(
  config: MlaConfig,
  absorbed: Float32Array,
  { position, cache, slots }: RowPlace,
  cacheLayer: number,
): Float32Array {
  const { numAttentionHeads: heads, qkRopeHeadDim: rope, kvLoraRank, softmaxScale } = config;
  const length = position + 1;
  const segments = cache.segments(cacheLayer, length, slots);
  /** [numHeads, length], scores and then probabilities. */
  const p = new Float64Array(heads * length);
  for (const { start, count, values } of segments) {
    const scores = linear(absorbed, values, heads, kvLoraRank + rope, count);
    for (let h = 0; h < heads; h++) {
      for (let t = 0; t < count; t++) p[h * length + start + t] = softmaxScale * scores[h * count + t]!;
    }
  }
  const mixed = new Float64Array(heads * kvLoraRank);
  for (let h = 0; h < heads; h++) {
    const probabilities = p.subarray(h * length, (h + 1) * length);
    softmax(probabilities);
    const sum = mixed.subarray(h * kvLoraRank, (h + 1) * kvLoraRank);
    for (const { start, values } of segments)
      addWeighted(sum, probabilities.subarray(start), values, 0, kvLoraRank + rope);
  }
  return Float32Array.from(mixed);
}

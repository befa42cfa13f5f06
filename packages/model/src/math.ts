/**
 * The primitives of the forward pass. Matrices are row-major Float32Arrays, weights [outDim, inDim] as checkpoints store them.
 * Every output element is one sum in ascending index order, accumulated in float64 and rounded once to float32, so that a row's
 * result has the same bits whatever the batch and the tiling of the loops.
 */

/** y[r] = W x[r] for every row of x [numRows, inDim], with w [outDim, inDim]; returns [numRows, outDim]. */
export function linear(
  x: Float32Array,
  w: Float32Array,
  numRows: number,
  inDim: number,
  outDim: number,
  out: Float32Array = new Float32Array(numRows * outDim),
): Float32Array {
  let r = 0;
  for (; r + 3 < numRows; r += 4) linearFourRows(x, w, r, inDim, outDim, out);
  for (; r < numRows; r++) linearOneRow(x, w, r, inDim, outDim, out);
  return out;
}

/** Computes four outputs at a time: four independent sums keep the adder busy, and x is read once for all of them. */
function linearOneRow(
  x: Float32Array,
  w: Float32Array,
  r: number,
  inDim: number,
  outDim: number,
  out: Float32Array,
): void {
  const x0 = r * inDim;
  const y0 = r * outDim;
  let o = 0;
  for (; o + 3 < outDim; o += 4) {
    const w0 = o * inDim;
    const w1 = w0 + inDim;
    const w2 = w1 + inDim;
    const w3 = w2 + inDim;
    let a = 0;
    let b = 0;
    let c = 0;
    let d = 0;
    for (let i = 0; i < inDim; i++) {
      const xi = x[x0 + i]!;
      a += xi * w[w0 + i]!;
      b += xi * w[w1 + i]!;
      c += xi * w[w2 + i]!;
      d += xi * w[w3 + i]!;
    }
    out[y0 + o] = a;
    out[y0 + o + 1] = b;
    out[y0 + o + 2] = c;
    out[y0 + o + 3] = d;
  }
  for (; o < outDim; o++) out[y0 + o] = dot(x, x0, w, o * inDim, inDim);
}

/** Computes two outputs of four rows at a time: each weight is read once for four rows. */
function linearFourRows(
  x: Float32Array,
  w: Float32Array,
  r: number,
  inDim: number,
  outDim: number,
  out: Float32Array,
): void {
  const x0 = r * inDim;
  const x1 = x0 + inDim;
  const x2 = x1 + inDim;
  const x3 = x2 + inDim;
  for (let o = 0; o < outDim; o += 2) {
    // An odd last output is computed twice rather than in a loop of its own.
    const odd = o + 1 < outDim ? 1 : 0;
    const w0 = o * inDim;
    const w1 = w0 + odd * inDim;
    let a0 = 0;
    let a1 = 0;
    let a2 = 0;
    let a3 = 0;
    let b0 = 0;
    let b1 = 0;
    let b2 = 0;
    let b3 = 0;
    for (let i = 0; i < inDim; i++) {
      const wa = w[w0 + i]!;
      const wb = w[w1 + i]!;
      const v0 = x[x0 + i]!;
      const v1 = x[x1 + i]!;
      const v2 = x[x2 + i]!;
      const v3 = x[x3 + i]!;
      a0 += v0 * wa;
      a1 += v1 * wa;
      a2 += v2 * wa;
      a3 += v3 * wa;
      b0 += v0 * wb;
      b1 += v1 * wb;
      b2 += v2 * wb;
      b3 += v3 * wb;
    }
    const y = r * outDim + o;
    out[y] = a0;
    out[y + outDim] = a1;
    out[y + 2 * outDim] = a2;
    out[y + 3 * outDim] = a3;
    out[y + odd] = b0;
    out[y + outDim + odd] = b1;
    out[y + 2 * outDim + odd] = b2;
    out[y + 3 * outDim + odd] = b3;
  }
}

/** Σ a[aStart + i] b[bStart + i] over i < length, in float64. */
export function dot(a: Float32Array, aStart: number, b: Float32Array, bStart: number, length: number): number {
  let sum = 0;
  for (let i = 0; i < length; i++) sum += a[aStart + i]! * b[bStart + i]!;
  return sum;
}

/** x[r] / √(mean(x[r]²) + eps) ⊙ weight for every row of x [numRows, dim], with weight [dim]; returns [numRows, dim]. */
export function rmsNorm(x: Float32Array, weight: Float32Array, numRows: number, eps: number): Float32Array {
  const dim = weight.length;
  const out = new Float32Array(numRows * dim);
  for (let r = 0; r < numRows; r++) {
    const start = r * dim;
    const scale = 1 / Math.sqrt(dot(x, start, x, start, dim) / dim + eps);
    for (let i = 0; i < dim; i++) out[start + i] = x[start + i]! * scale * weight[i]!;
  }
  return out;
}

/**
 * (x[r] − mean) / √(variance + eps) ⊙ weight + bias for every row of x [numRows, dim] (Ba et al. 2016), in place; weight and bias
 * [dim].
 */
export function layerNorm(x: Float32Array, weight: Float32Array, bias: Float32Array, eps: number): void {
  const dim = weight.length;
  for (let start = 0; start < x.length; start += dim) {
    let sum = 0;
    for (let i = 0; i < dim; i++) sum += x[start + i]!;
    const mean = sum / dim;
    let squares = 0;
    for (let i = 0; i < dim; i++) squares += (x[start + i]! - mean) ** 2;
    const scale = 1 / Math.sqrt(squares / dim + eps);
    for (let i = 0; i < dim; i++) x[start + i] = (x[start + i]! - mean) * scale * weight[i]! + bias[i]!;
  }
}

/** Softmax, in place, in float64. */
export function softmax(x: Float64Array): void {
  let max = Number.NEGATIVE_INFINITY;
  for (let i = 0; i < x.length; i++) if (x[i]! > max) max = x[i]!;
  let sum = 0;
  for (let i = 0; i < x.length; i++) {
    const e = Math.exp(x[i]! - max);
    x[i] = e;
    sum += e;
  }
  for (let i = 0; i < x.length; i++) x[i] = x[i]! / sum;
}

/**
 * sum += Σ_t p_t × the `sum.length` values from column `start` of row t, in order of t. values [numPositions, width],
 * p [≥ numPositions].
 */
export function addWeighted(
  sum: Float64Array,
  p: Float64Array,
  values: Float32Array,
  start: number,
  width: number,
): void {
  const count = values.length / width;
  let t = 0;
  // Four positions at a time, so that `sum` is read and written once for all of them; the additions keep their order.
  for (; t + 3 < count; t += 4) {
    const [p0, p1, p2, p3] = [p[t]!, p[t + 1]!, p[t + 2]!, p[t + 3]!];
    const c0 = t * width + start;
    const c1 = c0 + width;
    const c2 = c1 + width;
    const c3 = c2 + width;
    for (let k = 0; k < sum.length; k++) {
      sum[k] = sum[k]! + p0 * values[c0 + k]! + p1 * values[c1 + k]! + p2 * values[c2 + k]! + p3 * values[c3 + k]!;
    }
  }
  for (; t < count; t++) {
    for (let k = 0; k < sum.length; k++) sum[k] = sum[k]! + p[t]! * values[t * width + start + k]!;
  }
}

export function sigmoid(x: number): number {
  return 1 / (1 + Math.exp(-x));
}

/** From here on 1 − erf(x) is below half of float64's last bit at 1. */
const ERF_IS_ONE = 6;

/** The error function, from the series of positive terms 2/√π e^(−x²) Σ 2ⁿ x^(2n+1) / (2n+1)!! (Abramowitz and Stegun 7.1.6). */
export function erf(x: number): number {
  if (!(Math.abs(x) < ERF_IS_ONE)) return Math.sign(x);
  const square = x * x;
  let term = x;
  let sum = x;
  for (let n = 1; Math.abs(term) > Number.EPSILON * Math.abs(sum); n++) {
    term *= (2 * square) / (2 * n + 1);
    sum += term;
  }
  return (2 / Math.sqrt(Math.PI)) * Math.exp(-square) * sum;
}

/** x · sigmoid(x), also called swish. */
export function silu(x: number): number {
  return x / (1 + Math.exp(-x));
}

/** target += factor · source, element by element. */
export function addScaled(target: Float32Array, source: Float32Array, factor: number): void {
  for (let i = 0; i < target.length; i++) target[i] = target[i]! + factor * source[i]!;
}

/** target += source, element by element. */
export function addInPlace(target: Float32Array, source: Float32Array): void {
  for (let i = 0; i < target.length; i++) target[i] = target[i]! + source[i]!;
}

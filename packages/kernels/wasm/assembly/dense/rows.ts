// Row-wise operations between the products.
import { exp4, gelu4, loadLanes, storeLanes, sumLanes } from './primitives';

/** x += factor × y, dim values. */
export function addRow(x: usize, y: usize, dim: i32, factor: f32): void {
  const f = f32x4.splat(factor);
  for (let i = 0; i < dim; i += 4) {
    const at = (<usize>i) << 2;
    const added = f32x4.mul(loadLanes(y + at, dim - i), f);
    storeLanes(x + at, f32x4.add(loadLanes(x + at, dim - i), added), dim - i);
  }
}

/** x *= factor, dim values. */
export function scaleRow(x: usize, dim: i32, factor: f32): void {
  const f = f32x4.splat(factor);
  for (let i = 0; i < dim; i += 4) {
    const at = x + ((<usize>i) << 2);
    storeLanes(at, f32x4.mul(loadLanes(at, dim - i), f), dim - i);
  }
}

/** out = x / √(mean(x²) + eps) ⊙ weight (0: all 1); `out` may be `x`. The sum is taken in f32, in four interleaved parts of at most 16 values each. */
export function rmsNormRow(x: usize, weight: usize, dim: i32, eps: f32, out: usize): void {
  let total: f64 = 0;
  for (let start = 0; start < dim; start += 64) {
    let sum = f32x4.splat(0);
    const end = min(dim, start + 64);
    for (let i = start; i < end; i += 4) {
      const v = loadLanes(x + ((<usize>i) << 2), dim - i);
      sum = f32x4.add(sum, f32x4.mul(v, v));
    }
    total += <f64>sumLanes(sum);
  }
  const scale = f32x4.splat(<f32>(1.0 / Math.sqrt(total / <f64>dim + <f64>eps)));
  for (let i = 0; i < dim; i += 4) {
    const at = (<usize>i) << 2;
    const left = dim - i;
    const v = f32x4.mul(loadLanes(x + at, left), scale);
    storeLanes(out + at, weight ? f32x4.mul(v, loadLanes(weight + at, left)) : v, left);
  }
}

/** out = (x − mean) / √(variance + eps) ⊙ weight + bias; `out` may be `x`. Sums are taken in float64, in order. */
export function layerNormRow(x: usize, weight: usize, bias: usize, dim: i32, eps: f32, out: usize): void {
  let sum: f64 = 0;
  for (let i = 0; i < dim; i++) sum += <f64>load<f32>(x + ((<usize>i) << 2));
  const mean = sum / <f64>dim;
  let squares: f64 = 0;
  for (let i = 0; i < dim; i++) {
    const centred = <f64>load<f32>(x + ((<usize>i) << 2)) - mean;
    squares += centred * centred;
  }
  const scale = f32x4.splat(<f32>(1.0 / Math.sqrt(squares / <f64>dim + <f64>eps)));
  const centre = f32x4.splat(<f32>mean);
  for (let i = 0; i < dim; i += 4) {
    const at = (<usize>i) << 2;
    const left = dim - i;
    const v = f32x4.mul(f32x4.sub(loadLanes(x + at, left), centre), scale);
    storeLanes(out + at, f32x4.add(f32x4.mul(v, loadLanes(weight + at, left)), loadLanes(bias + at, left)), left);
  }
}

/** x = gelu(x), dim values. */
export function geluRow(x: usize, dim: i32): void {
  for (let i = 0; i < dim; i += 4) {
    const at = x + ((<usize>i) << 2);
    storeLanes(at, gelu4(loadLanes(at, dim - i)), dim - i);
  }
}

/** x = max(x, 0), dim values; NaN stays NaN. */
export function reluRow(x: usize, dim: i32): void {
  for (let i = 0; i < dim; i += 4) {
    const at = x + ((<usize>i) << 2);
    storeLanes(at, f32x4.max(loadLanes(at, dim - i), f32x4.splat(0)), dim - i);
  }
}

/** Clamps to ± limit; NaN stays NaN. */
export function clipRow(x: usize, dim: i32, limit: f32): void {
  const high = f32x4.splat(limit);
  const low = f32x4.splat(-limit);
  for (let i = 0; i < dim; i += 4) {
    const at = x + ((<usize>i) << 2);
    storeLanes(at, f32x4.max(f32x4.min(loadLanes(at, dim - i), high), low), dim - i);
  }
}

/** gate = silu(gate) ⊙ up. */
export function siluMulRow(gate: usize, up: usize, dim: i32): void {
  for (let i = 0; i < dim; i += 4) {
    const at = (<usize>i) << 2;
    const g = loadLanes(gate + at, dim - i);
    const silu = f32x4.div(g, f32x4.add(f32x4.splat(1), exp4(f32x4.neg(g))));
    storeLanes(gate + at, f32x4.mul(silu, loadLanes(up + at, dim - i)), dim - i);
  }
}

/** Rotates pairs of `dim` values in place; cos and sin [dim / 2]. Interleaved: (x0, x1), (x2, x3), …; else halves. */
export function ropeRow(x: usize, dim: i32, cos: usize, sin: usize, interleaved: i32): void {
  const pairs = dim >> 1;
  const step: usize = interleaved ? 8 : 4;
  const apart: usize = interleaved ? 4 : (<usize>pairs) << 2;
  for (let i = 0; i < pairs; i++) {
    const at = (<usize>i) << 2;
    const c = load<f32>(cos + at);
    const s = load<f32>(sin + at);
    const first = x + <usize>i * step;
    const a = load<f32>(first);
    const b = load<f32>(first + apart);
    store<f32>(first, a * c - b * s);
    store<f32>(first + apart, a * s + b * c);
  }
}

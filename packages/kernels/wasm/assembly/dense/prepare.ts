// Activations prepared for the weight formats. A prepared row is padded with zeros to whole blocks of 32 columns.
import { loadLanes, maxLanes } from './primitives';

/** Formats of weights; a row is prepared for one of them. */
export const F32: i32 = 0;
export const F16: i32 = 1;
export const Q8: i32 = 2;
export const Q4: i32 = 3;
/** Experts only. */
export const MXFP4: i32 = 4;

/** f16 weights are multiplied as f32 × 2^-112. Activations are scaled up and results back, both exactly. */
const F16_INPUT_SCALE: f32 = 18446744073709551616.0; // 2^64: inputs may be as large, and as small as 2^-38 beside any weight
export const F16_OUTPUT_SCALE: f32 = 281474976710656.0; // 2^48

/**
 * Prepares one row x [dim]. f32: the values. f16: the values × 2^64. The others: int16 in blocks of 32, then an f32 scale per
 * block; products with weights are exact in int32, and 16 bits cost no more than 8, since the dot product takes int16.
 */
export function prepareRow(x: usize, dim: i32, out: usize, format: i32): void {
  const blocks = (dim + 31) >> 5;
  if (format >= Q8) {
    const scales = out + ((<usize>blocks) << 6);
    for (let b = 0; b < blocks; b++) {
      quantizeBlock(x + ((<usize>b) << 7), dim - (b << 5), out + ((<usize>b) << 6), scales + ((<usize>b) << 2));
    }
    return;
  }
  const scale = f32x4.splat(format == F16 ? F16_INPUT_SCALE : 1);
  const padded = blocks << 5;
  for (let i = 0; i < padded; i += 4) {
    const at = (<usize>i) << 2;
    const v = dim > i ? loadLanes(x + at, dim - i) : f32x4.splat(0);
    v128.store(out + at, f32x4.mul(v, scale));
  }
}

/** Quantises up to 32 values to 32 int16 with one scale: q = round(x × 32767 / max|x|). NaN makes the scale and the result NaN. */
@inline
function quantizeBlock(x: usize, left: i32, out: usize, scaleAt: usize): void {
  let top = f32x4.splat(0);
  for (let i = 0; i < 32; i += 4) {
    if (left > i) top = f32x4.max(top, f32x4.abs(loadLanes(x + ((<usize>i) << 2), left - i)));
  }
  const amax = maxLanes(top);
  const inverse = f32x4.splat(amax > 0 ? 32767 / amax : 0);
  store<f32>(scaleAt, amax / 32767);
  for (let i = 0; i < 32; i += 8) {
    const at = x + ((<usize>i) << 2);
    const a = left > i ? loadLanes(at, left - i) : f32x4.splat(0);
    const b = left > i + 4 ? loadLanes(at + 16, left - i - 4) : f32x4.splat(0);
    const low = i32x4.trunc_sat_f32x4_s(f32x4.nearest(f32x4.mul(a, inverse)));
    const high = i32x4.trunc_sat_f32x4_s(f32x4.nearest(f32x4.mul(b, inverse)));
    v128.store(out + ((<usize>i) << 1), i16x8.narrow_i32x4_s(low, high));
  }
}

// A row as the expert kernels read it, in blocks of 32 columns (the rest of the last block zero), after a header of 16 B.
import { floatsOfHalves, largestLane, silu } from './simd';

export const F16: i32 = 0;
export const Q8: i32 = 1;
export const Q4: i32 = 2;

export const BLOCK_COLS: i32 = 32;
export const HEADER_BYTES: i32 = 16;
/** 32 floats. */
export const F16_INPUT_BYTES: i32 = 128;
/** 32 int16, their scale (f32), eight times their sum (i32), 8 B unused. */
export const Q_INPUT_BYTES: i32 = 80;
/** Where in a block the scale and the sum lie. */
export const Q_SCALE: i32 = 64;
export const Q_SUM: i32 = 68;
const LARGEST_I16: f32 = 32767;

export function inputBytes(format: i32, cols: i32): i32 {
  const blocks = (cols + BLOCK_COLS - 1) / BLOCK_COLS;
  return HEADER_BYTES + blocks * (format == F16 ? F16_INPUT_BYTES : Q_INPUT_BYTES);
}

/** halves [cols] → values [cols up to whole blocks]; `cols` may be odd, and nothing after the last half is read. */
export function widen(halves: usize, cols: i32, values: usize): void {
  const padded = (cols + BLOCK_COLS - 1) & -BLOCK_COLS;
  let col = 0;
  for (; col + 4 <= cols; col += 4) {
    v128.store(values + (<usize>col << 2), floatsOfHalves(v128.load_ext<i16>(halves + (<usize>col << 1))));
  }
  for (; col < cols; col++) {
    const half = i32x4.splat(<i32>load<i16>(halves + (<usize>col << 1)));
    store<f32>(values + (<usize>col << 2), f32x4.extract_lane(floatsOfHalves(half), 0));
  }
  for (; col < padded; col++) store<f32>(values + (<usize>col << 2), 0);
}

/** silu(gate) ⊙ up, [cols], over gate, and zeros up to whole blocks. What lies behind the columns may be anything. */
export function activate(gate: usize, up: usize, cols: i32): void {
  const padded = (cols + BLOCK_COLS - 1) & -BLOCK_COLS;
  for (let col = 0; col < cols; col += 4) {
    const at = <usize>col << 2;
    v128.store(gate + at, f32x4.mul(silu(v128.load(gate + at)), v128.load(up + at)));
  }
  for (let col = cols; col < padded; col++) store<f32>(gate + (<usize>col << 2), 0);
}

/** values [cols up to whole blocks] → input. */
export function prepare(format: i32, values: usize, cols: i32, input: usize): void {
  const blocks = (cols + BLOCK_COLS - 1) / BLOCK_COLS;
  if (format == F16) scaleRow(values, blocks, input);
  else for (let block = 0; block < blocks; block++) quantise(values + block * 128, input + HEADER_BYTES + block * Q_INPUT_BYTES);
}

/**
 * f16 weights are multiplied as floats 2¹¹² too small, so the row is scaled to 2¹⁰⁰ and the product, by the header's
 * factor, back: powers of two, so that nothing is rounded.
 */
function scaleRow(values: usize, blocks: i32, input: usize): void {
  let largest = f32x4.splat(0);
  const end = values + blocks * 128;
  for (let p = values; p < end; p += 16) largest = f32x4.max(largest, f32x4.abs(v128.load(p)));
  const exponent = max(((reinterpret<i32>(largestLane(largest)) >> 23) & 255) - 127, -27);
  const factor = f32x4.splat(reinterpret<f32>((227 - exponent) << 23));
  store<f32>(input, reinterpret<f32>(min(139 + exponent, 255) << 23));
  for (let p = values, q = input + HEADER_BYTES; p < end; p += 16, q += 16) v128.store(q, f32x4.mul(v128.load(p), factor));
}

/** 32 floats → 32 int16 with one scale: within 1.6e-5 of the largest. NaN and ∞ make the scale what they are. */
function quantise(values: usize, block: usize): void {
  let largest = f32x4.splat(0);
  for (let i: usize = 0; i < 128; i += 16) largest = f32x4.max(largest, f32x4.abs(v128.load(values + i)));
  const absMax = largestLane(largest);
  const inverse = f32x4.splat(absMax > 0 ? LARGEST_I16 / absMax : 0);
  let sum = i32x4.splat(0);
  for (let i: usize = 0; i < 128; i += 32) {
    const low = i32x4.trunc_sat_f32x4_s(f32x4.nearest(f32x4.mul(v128.load(values + i), inverse)));
    const high = i32x4.trunc_sat_f32x4_s(f32x4.nearest(f32x4.mul(v128.load(values + i, 16), inverse)));
    const narrow = i16x8.narrow_i32x4_s(low, high);
    v128.store(block + (i >> 1), narrow);
    sum = i32x4.add(sum, i32x4.dot_i16x8_s(narrow, i16x8.splat(8)));
  }
  store<f32>(block, absMax / LARGEST_I16, Q_SCALE);
  const total =
    i32x4.extract_lane(sum, 0) + i32x4.extract_lane(sum, 1) + i32x4.extract_lane(sum, 2) + i32x4.extract_lane(sum, 3);
  store<i32>(block, total, Q_SUM);
}

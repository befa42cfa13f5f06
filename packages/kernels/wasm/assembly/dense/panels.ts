// Products of four outputs (a panel of weight rows) with one prepared row. A panel is contiguous, [block of 32 columns][...]:
//   f32  [8 × 4 columns][4 rows][4 f32]        512 B
//   f16  [4 × 8 columns][4 rows][8 f16]        256 B
//   q8   [4 f16 scales][4 rows][32 int8]       136 B
//   q4   [4 f16 scales][4 rows][16 B]           72 B   nibble j of 16-bit lane l is column 8j + l, two's complement
//   mxfp4 [4 E8M0][4 rows][16 B]               68 B   E2M1; column j in byte j's low nibble, column j + 16 in its high one
// For several rows a panel is expanded once: f16 to f32 (still × 2^-112), the last three as tiles.ts says.
import { joinSumsI32, loadScales, madd, sumHalvesI32, sumLanesF32, sumLanesI32, unscaledHalves } from './primitives';

export const BLOCK_BYTES_F32: usize = 512;
export const BLOCK_BYTES_F16: usize = 256;
export const BLOCK_BYTES_Q8: usize = 136;
export const BLOCK_BYTES_Q4: usize = 72;
export const BLOCK_BYTES_MXFP4: usize = 68;

export function dotF32(w: usize, x: usize, blocks: i32): v128 {
  let a = f32x4.splat(0);
  let b = f32x4.splat(0);
  let c = f32x4.splat(0);
  let d = f32x4.splat(0);
  const end = w + <usize>blocks * BLOCK_BYTES_F32;
  while (w < end) {
    const v = v128.load(x);
    a = madd(v128.load(w), v, a);
    b = madd(v128.load(w, 16), v, b);
    c = madd(v128.load(w, 32), v, c);
    d = madd(v128.load(w, 48), v, d);
    x += 16;
    w += 64;
  }
  return sumLanesF32(a, b, c, d);
}

/** Two prepared rows at a time, so that weights are loaded once for both; `out` takes the second row's result. */
export function dotF32Two(w: usize, x: usize, y: usize, blocks: i32, out: usize): v128 {
  let a = f32x4.splat(0);
  let b = f32x4.splat(0);
  let c = f32x4.splat(0);
  let d = f32x4.splat(0);
  let e = f32x4.splat(0);
  let f = f32x4.splat(0);
  let g = f32x4.splat(0);
  let h = f32x4.splat(0);
  const end = w + <usize>blocks * BLOCK_BYTES_F32;
  while (w < end) {
    const v = v128.load(x);
    const u = v128.load(y);
    let r = v128.load(w);
    a = madd(r, v, a);
    e = madd(r, u, e);
    r = v128.load(w, 16);
    b = madd(r, v, b);
    f = madd(r, u, f);
    r = v128.load(w, 32);
    c = madd(r, v, c);
    g = madd(r, u, g);
    r = v128.load(w, 48);
    d = madd(r, v, d);
    h = madd(r, u, h);
    x += 16;
    y += 16;
    w += 64;
  }
  v128.store(out, sumLanesF32(e, f, g, h));
  return sumLanesF32(a, b, c, d);
}

export function dotF16(w: usize, x: usize, blocks: i32): v128 {
  let a = f32x4.splat(0);
  let b = f32x4.splat(0);
  let c = f32x4.splat(0);
  let d = f32x4.splat(0);
  const end = w + <usize>blocks * BLOCK_BYTES_F16;
  while (w < end) {
    const v = v128.load(x);
    const u = v128.load(x, 16);
    a = madd(unscaledHalves(v128.load16x4_s(w)), v, a);
    b = madd(unscaledHalves(v128.load16x4_s(w, 16)), v, b);
    c = madd(unscaledHalves(v128.load16x4_s(w, 32)), v, c);
    d = madd(unscaledHalves(v128.load16x4_s(w, 48)), v, d);
    a = madd(unscaledHalves(v128.load16x4_s(w, 8)), u, a);
    b = madd(unscaledHalves(v128.load16x4_s(w, 24)), u, b);
    c = madd(unscaledHalves(v128.load16x4_s(w, 40)), u, c);
    d = madd(unscaledHalves(v128.load16x4_s(w, 56)), u, d);
    x += 32;
    w += 64;
  }
  return sumLanesF32(a, b, c, d);
}

export function expandF16(w: usize, blocks: i32, out: usize): void {
  const end = w + <usize>blocks * BLOCK_BYTES_F16;
  while (w < end) {
    for (let r: usize = 0; r < 64; r += 16) {
      v128.store(out + r, unscaledHalves(v128.load16x4_s(w + r)));
      v128.store(out + r, unscaledHalves(v128.load16x4_s(w + r, 8)), 64);
    }
    w += 64;
    out += 128;
  }
}

/** Columns are in a loop, since V8 moves all loads of straight-line code to its front, which are more than there are registers. */
export function dotQ8(w: usize, x: usize, blocks: i32): v128 {
  let acc = f32x4.splat(0);
  let scales = x + ((<usize>blocks) << 6);
  const end = w + <usize>blocks * BLOCK_BYTES_Q8;
  while (w < end) {
    let a = i32x4.splat(0), b = i32x4.splat(0), c = i32x4.splat(0), d = i32x4.splat(0);
    for (let i: usize = 0; i < 32; i += 8) {
      const v = v128.load(x + (i << 1));
      a = i32x4.add(a, i32x4.dot_i16x8_s(v128.load8x8_s(w + i, 8), v));
      b = i32x4.add(b, i32x4.dot_i16x8_s(v128.load8x8_s(w + i, 40), v));
      c = i32x4.add(c, i32x4.dot_i16x8_s(v128.load8x8_s(w + i, 72), v));
      d = i32x4.add(d, i32x4.dot_i16x8_s(v128.load8x8_s(w + i, 104), v));
    }
    const scale = f32x4.mul(loadScales(w), v128.load32_splat(scales));
    acc = f32x4.add(acc, f32x4.mul(f32x4.convert_i32x4_s(sumLanesI32(a, b, c, d)), scale));
    x += 64;
    scales += 4;
    w += BLOCK_BYTES_Q8;
  }
  return acc;
}

/** Σ over 32 columns of one row of int4. */
@inline
function blockQ4(w: usize, x0: v128, x1: v128, x2: v128, x3: v128): v128 {
  const v = v128.load(w);
  return i32x4.add(
    i32x4.add(
      i32x4.dot_i16x8_s(i16x8.shr_s(i16x8.shl(v, 12), 12), x0),
      i32x4.dot_i16x8_s(i16x8.shr_s(i16x8.shl(v, 8), 12), x1),
    ),
    i32x4.add(
      i32x4.dot_i16x8_s(i16x8.shr_s(i16x8.shl(v, 4), 12), x2),
      i32x4.dot_i16x8_s(i16x8.shr_s(v, 12), x3),
    ),
  );
}

/** Half of a block's sums go through memory (16 B at `spare`), so that V8 computes them before it loads the other rows. */
export function dotQ4(w: usize, x: usize, blocks: i32, spare: usize): v128 {
  let acc = f32x4.splat(0);
  let scales = x + ((<usize>blocks) << 6);
  const end = w + <usize>blocks * BLOCK_BYTES_Q4;
  while (w < end) {
    const x0 = v128.load(x);
    const x1 = v128.load(x, 16);
    const x2 = v128.load(x, 32);
    const x3 = v128.load(x, 48);
    v128.store(spare, sumHalvesI32(blockQ4(w + 8, x0, x1, x2, x3), blockQ4(w + 24, x0, x1, x2, x3)));
    const second = sumHalvesI32(blockQ4(w + 40, x0, x1, x2, x3), blockQ4(w + 56, x0, x1, x2, x3));
    const sums = joinSumsI32(v128.load(spare), second);
    const scale = f32x4.mul(loadScales(w), v128.load32_splat(scales));
    acc = f32x4.add(acc, f32x4.mul(f32x4.convert_i32x4_s(sums), scale));
    x += 64;
    scales += 4;
    w += BLOCK_BYTES_Q4;
  }
  return acc;
}

/** The elements of MXFP4 twice over, by their code: integers, of which 2^(E8M0 − 128) is the scale. */
@inline
export function doubledElements(codes: v128): v128 {
  const table = i8x16(0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12);
  return RELAXED ? i8x16.relaxed_swizzle(table, codes) : v128.swizzle(table, codes);
}

@inline
export function lowNibbles(v: v128): v128 {
  return v128.and(v, i8x16.splat(15));
}

@inline
export function highNibbles(v: v128): v128 {
  return v128.and(i16x8.shr_u(v, 4), i8x16.splat(15));
}

/** Four E8M0 from memory as f32 2^(code − 128), the least ones subnormal. */
@inline
export function loadPowers(p: usize): v128 {
  const codes = i32x4.extend_low_i16x8_u(i16x8.extend_low_i8x16_u(v128.load32_zero(p)));
  // As a product, since the exponents of f32 do not go down to −128.
  const half = i32x4.shr_u(codes, 1);
  const first = i32x4.shl(i32x4.add(half, i32x4.splat(63)), 23);
  const second = i32x4.shl(i32x4.add(i32x4.sub(codes, half), i32x4.splat(63)), 23);
  return f32x4.mul(first, second);
}

/** Columns 8i to 8i + 7 of one row of a block, doubled, as int16. */
export function eightMxfp4(w: usize, i: i32): v128 {
  const v = v128.load(w);
  const elements = doubledElements(i < 2 ? lowNibbles(v) : highNibbles(v));
  return i & 1 ? i16x8.extend_high_i8x16_s(elements) : i16x8.extend_low_i8x16_s(elements);
}

/** Σ over 32 columns of one row of MXFP4, doubled. */
@inline
function blockMxfp4(w: usize, x0: v128, x1: v128, x2: v128, x3: v128): v128 {
  const v = v128.load(w);
  const low = doubledElements(lowNibbles(v));
  const high = doubledElements(highNibbles(v));
  return i32x4.add(
    i32x4.add(
      i32x4.dot_i16x8_s(i16x8.extend_low_i8x16_s(low), x0),
      i32x4.dot_i16x8_s(i16x8.extend_high_i8x16_s(low), x1),
    ),
    i32x4.add(
      i32x4.dot_i16x8_s(i16x8.extend_low_i8x16_s(high), x2),
      i32x4.dot_i16x8_s(i16x8.extend_high_i8x16_s(high), x3),
    ),
  );
}

/**
 * Like dotQ4. A block's sums are multiplied by the inputs' scale before that of the weights: scales of MXFP4 are so small or large
 * that the product of the two may be beyond f32 where the result is not.
 */
export function dotMxfp4(w: usize, x: usize, blocks: i32, spare: usize): v128 {
  let acc = f32x4.splat(0);
  let scales = x + ((<usize>blocks) << 6);
  const end = w + <usize>blocks * BLOCK_BYTES_MXFP4;
  while (w < end) {
    const x0 = v128.load(x);
    const x1 = v128.load(x, 16);
    const x2 = v128.load(x, 32);
    const x3 = v128.load(x, 48);
    v128.store(spare, sumHalvesI32(blockMxfp4(w + 4, x0, x1, x2, x3), blockMxfp4(w + 20, x0, x1, x2, x3)));
    const second = sumHalvesI32(blockMxfp4(w + 36, x0, x1, x2, x3), blockMxfp4(w + 52, x0, x1, x2, x3));
    const sums = f32x4.convert_i32x4_s(joinSumsI32(v128.load(spare), second));
    acc = f32x4.add(acc, f32x4.mul(f32x4.mul(sums, v128.load32_splat(scales)), loadPowers(w)));
    x += 64;
    scales += 4;
    w += BLOCK_BYTES_MXFP4;
  }
  return acc;
}

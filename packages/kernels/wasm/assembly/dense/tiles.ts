// Products of integer panels with several prepared rows, in tiles of two panels and four rows, or two. A panel is expanded first, to
//   pairs [4 f32 scales][16 pairs of columns][4 rows][2 int16]   272 B a block
// so that a pair of columns of a prepared row, copied to all lanes, is multiplied with four rows of weights at a time: the sums of
// the lanes are those of the four outputs, and no sum crosses lanes. A tile's eight sums of a block are in registers, and its
// weights in the first cache. Sums of a block are exact, and blocks are added as in panels.ts, so results have the same bits.
import {
  BLOCK_BYTES_MXFP4,
  BLOCK_BYTES_Q4,
  BLOCK_BYTES_Q8,
  doubledElements,
  highNibbles,
  loadPowers,
  lowNibbles,
} from './panels';
import { loadScales } from './primitives';

export const BLOCK_BYTES_PAIRS: usize = 272;
/** Of a tile's f32 sums, [4 rows][2 panels]. */
export const TILE_SUM_BYTES: usize = 128;

/** Eight columns of four rows of int16 as four vectors of pairs. */
@inline
function storePairs(out: usize, a: v128, b: v128, c: v128, d: v128): void {
  const ab = v128.shuffle<i32>(a, b, 0, 4, 1, 5);
  const cd = v128.shuffle<i32>(c, d, 0, 4, 1, 5);
  v128.store(out, v128.shuffle<i64>(ab, cd, 0, 2));
  v128.store(out, v128.shuffle<i64>(ab, cd, 1, 3), 16);
  const ab2 = v128.shuffle<i32>(a, b, 2, 6, 3, 7);
  const cd2 = v128.shuffle<i32>(c, d, 2, 6, 3, 7);
  v128.store(out, v128.shuffle<i64>(ab2, cd2, 0, 2), 32);
  v128.store(out, v128.shuffle<i64>(ab2, cd2, 1, 3), 48);
}

export function expandQ8(w: usize, blocks: i32, out: usize): void {
  for (let b = 0; b < blocks; b++) {
    v128.store(out, loadScales(w));
    for (let i: usize = 0; i < 4; i++) {
      const at = w + (i << 3);
      storePairs(
        out + 16 + (i << 6),
        v128.load8x8_s(at, 8),
        v128.load8x8_s(at, 40),
        v128.load8x8_s(at, 72),
        v128.load8x8_s(at, 104),
      );
    }
    w += BLOCK_BYTES_Q8;
    out += BLOCK_BYTES_PAIRS;
  }
}

@inline
function nibbles(v: v128, up: i32): v128 {
  return i16x8.shr_s(i16x8.shl(v, up), 12);
}

export function expandQ4(w: usize, blocks: i32, out: usize): void {
  for (let b = 0; b < blocks; b++) {
    v128.store(out, loadScales(w));
    const r0 = v128.load(w, 8);
    const r1 = v128.load(w, 24);
    const r2 = v128.load(w, 40);
    const r3 = v128.load(w, 56);
    for (let j = 0; j < 4; j++) {
      const up = 12 - (j << 2);
      storePairs(out + 16 + ((<usize>j) << 6), nibbles(r0, up), nibbles(r1, up), nibbles(r2, up), nibbles(r3, up));
    }
    w += BLOCK_BYTES_Q4;
    out += BLOCK_BYTES_PAIRS;
  }
}

export function expandMxfp4(w: usize, blocks: i32, out: usize): void {
  for (let b = 0; b < blocks; b++) {
    v128.store(out, loadPowers(w));
    const r0 = v128.load(w, 4);
    const r1 = v128.load(w, 20);
    const r2 = v128.load(w, 36);
    const r3 = v128.load(w, 52);
    storeBytes(
      out + 16,
      doubledElements(lowNibbles(r0)),
      doubledElements(lowNibbles(r1)),
      doubledElements(lowNibbles(r2)),
      doubledElements(lowNibbles(r3)),
    );
    storeBytes(
      out + 144,
      doubledElements(highNibbles(r0)),
      doubledElements(highNibbles(r1)),
      doubledElements(highNibbles(r2)),
      doubledElements(highNibbles(r3)),
    );
    w += BLOCK_BYTES_MXFP4;
    out += BLOCK_BYTES_PAIRS;
  }
}

/** Sixteen columns of four rows of int8. */
@inline
function storeBytes(out: usize, a: v128, b: v128, c: v128, d: v128): void {
  storePairs(
    out,
    i16x8.extend_low_i8x16_s(a),
    i16x8.extend_low_i8x16_s(b),
    i16x8.extend_low_i8x16_s(c),
    i16x8.extend_low_i8x16_s(d),
  );
  storePairs(
    out + 64,
    i16x8.extend_high_i8x16_s(a),
    i16x8.extend_high_i8x16_s(b),
    i16x8.extend_high_i8x16_s(c),
    i16x8.extend_high_i8x16_s(d),
  );
}

/** Adds a block's integer sums, scaled, to f32 sums; `powers` for MXFP4, in the order of dotMxfp4. */
@inline
function addScaled(sums: usize, block: v128, scale: v128, inputScale: v128, powers: bool): void {
  const values = f32x4.convert_i32x4_s(block);
  const v = powers
    ? f32x4.mul(f32x4.mul(values, inputScale), scale)
    : f32x4.mul(values, f32x4.mul(scale, inputScale));
  v128.store(sums, f32x4.add(v128.load(sums), v));
}

/**
 * Two expanded panels, `apart` bytes from each other, with two, three or four rows, `stride` bytes from each other; `sums` [rows][2
 * panels]. Each constant `rows` and `powers` compiles to a function of its own.
 */
@inline
function tile(
  w: usize, apart: usize, blocks: i32, x: usize, stride: usize, sums: usize, rows: i32, powers: bool,
): void {
  memory.fill(sums, 0, TILE_SUM_BYTES);
  let scales = x + ((<usize>blocks) << 6);
  const end = w + <usize>blocks * BLOCK_BYTES_PAIRS;
  while (w < end) {
    let a = i32x4.splat(0), b = i32x4.splat(0), c = i32x4.splat(0), d = i32x4.splat(0);
    let e = i32x4.splat(0), f = i32x4.splat(0), g = i32x4.splat(0), h = i32x4.splat(0);
    for (let i: usize = 0; i < 64; i += 4) {
      const at = w + (i << 2);
      const p = v128.load(at, 16);
      const q = v128.load(at + apart, 16);
      let row = x + i;
      let v = v128.load32_splat(row);
      a = i32x4.add(a, i32x4.dot_i16x8_s(p, v));
      b = i32x4.add(b, i32x4.dot_i16x8_s(q, v));
      row += stride;
      v = v128.load32_splat(row);
      c = i32x4.add(c, i32x4.dot_i16x8_s(p, v));
      d = i32x4.add(d, i32x4.dot_i16x8_s(q, v));
      if (rows > 2) {
        row += stride;
        v = v128.load32_splat(row);
        e = i32x4.add(e, i32x4.dot_i16x8_s(p, v));
        f = i32x4.add(f, i32x4.dot_i16x8_s(q, v));
      }
      if (rows > 3) {
        row += stride;
        v = v128.load32_splat(row);
        g = i32x4.add(g, i32x4.dot_i16x8_s(p, v));
        h = i32x4.add(h, i32x4.dot_i16x8_s(q, v));
      }
    }
    const s = v128.load(w);
    const t = v128.load(w + apart);
    let at = scales;
    let v = v128.load32_splat(at);
    addScaled(sums, a, s, v, powers);
    addScaled(sums + 16, b, t, v, powers);
    at += stride;
    v = v128.load32_splat(at);
    addScaled(sums + 32, c, s, v, powers);
    addScaled(sums + 48, d, t, v, powers);
    if (rows > 2) {
      at += stride;
      v = v128.load32_splat(at);
      addScaled(sums + 64, e, s, v, powers);
      addScaled(sums + 80, f, t, v, powers);
    }
    if (rows > 3) {
      at += stride;
      v = v128.load32_splat(at);
      addScaled(sums + 96, g, s, v, powers);
      addScaled(sums + 112, h, t, v, powers);
    }
    x += 64;
    scales += 4;
    w += BLOCK_BYTES_PAIRS;
  }
}

export function tileOfTwo(w: usize, apart: usize, blocks: i32, x: usize, stride: usize, sums: usize): void {
  tile(w, apart, blocks, x, stride, sums, 2, false);
}

export function tileOfThree(w: usize, apart: usize, blocks: i32, x: usize, stride: usize, sums: usize): void {
  tile(w, apart, blocks, x, stride, sums, 3, false);
}

export function tileOfFour(w: usize, apart: usize, blocks: i32, x: usize, stride: usize, sums: usize): void {
  tile(w, apart, blocks, x, stride, sums, 4, false);
}

export function tileOfTwoPowers(w: usize, apart: usize, blocks: i32, x: usize, stride: usize, sums: usize): void {
  tile(w, apart, blocks, x, stride, sums, 2, true);
}

export function tileOfThreePowers(w: usize, apart: usize, blocks: i32, x: usize, stride: usize, sums: usize): void {
  tile(w, apart, blocks, x, stride, sums, 3, true);
}

export function tileOfFourPowers(w: usize, apart: usize, blocks: i32, x: usize, stride: usize, sums: usize): void {
  tile(w, apart, blocks, x, stride, sums, 4, true);
}

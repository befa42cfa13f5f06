// y = W x for prepared rows, with weights in panels of four outputs (panels.ts).
import { F16, F16_OUTPUT_SCALE, F32, MXFP4, Q4, Q8 } from './prepare';
import {
  BLOCK_BYTES_F16,
  BLOCK_BYTES_F32,
  BLOCK_BYTES_MXFP4,
  BLOCK_BYTES_Q4,
  BLOCK_BYTES_Q8,
  dotF16,
  dotF32,
  dotF32Two,
  dotMxfp4,
  dotQ4,
  dotQ8,
  eightMxfp4,
  expandF16,
  loadPowers,
} from './panels';
import { loadLanes, loadScales, storeLanes, unscaledHalves } from './primitives';
import {
  BLOCK_BYTES_PAIRS,
  expandMxfp4,
  expandQ4,
  expandQ8,
  tileOfFour,
  tileOfFourPowers,
  tileOfThree,
  tileOfThreePowers,
  tileOfTwo,
  tileOfTwoPowers,
} from './tiles';

/** From this number of rows on, a panel is expanded once instead of decoded for each row. */
const EXPAND_FROM_ROWS = 3;

@inline
export function panelBytes(format: i32, blocks: i32): usize {
  return <usize>blocks * blockBytes(format);
}

function blockBytes(format: i32): usize {
  if (format == F32) return BLOCK_BYTES_F32;
  if (format == F16) return BLOCK_BYTES_F16;
  if (format == Q8) return BLOCK_BYTES_Q8;
  return format == Q4 ? BLOCK_BYTES_Q4 : BLOCK_BYTES_MXFP4;
}

@inline
function put(y: usize, v: v128, count: i32, accumulate: i32): void {
  storeLanes(y, accumulate ? f32x4.add(loadLanes(y, count), v) : v, count);
}

/**
 * Computes panels `from` to `to` (exclusive) of y[r] = W x[r] (or y[r] += W x[r]), with prepared rows x and `outDim` f32 in a
 * row of y. Strides in bytes. `scratch` has room for two expanded panels and a tile's sums (blocks × 544 bytes and 128).
 */
export function gemm(
  w: usize,
  format: i32,
  blocks: i32,
  outDim: i32,
  x: usize,
  xStride: usize,
  numRows: i32,
  y: usize,
  yStride: usize,
  accumulate: i32,
  from: i32,
  to: i32,
  scratch: usize,
): void {
  const bytes = panelBytes(format, blocks);
  if (format > F16 && numRows >= EXPAND_FROM_ROWS) {
    for (let p = from; p < to; p += 2) {
      const left = outDim - (p << 2);
      const second = p + 1 < to ? bytes : 0;
      const at = w + <usize>p * bytes;
      panelPair(at, second, format, blocks, x, xStride, numRows, y + ((<usize>p) << 4), yStride, accumulate, left, scratch);
    }
    return;
  }
  for (let p = from; p < to; p++) {
    const panel = w + <usize>p * bytes;
    const count = outDim - (p << 2);
    const out = y + ((<usize>p) << 4);
    if (format <= F16) floatPanel(panel, format, blocks, x, xStride, numRows, out, yStride, accumulate, count, scratch);
    else integerPanel(panel, format, blocks, x, xStride, numRows, out, yStride, accumulate, count, scratch);
  }
}

@inline
function floatPanel(
  panel: usize, format: i32, blocks: i32, x: usize, xStride: usize, numRows: i32,
  out: usize, yStride: usize, accumulate: i32, count: i32, scratch: usize,
): void {
  const scale = f32x4.splat(format == F16 ? F16_OUTPUT_SCALE : 1);
  let expanded = panel;
  if (format == F16) {
    if (numRows < EXPAND_FROM_ROWS) {
      for (let r = 0; r < numRows; r++) {
        const v = f32x4.mul(dotF16(panel, x + <usize>r * xStride, blocks), scale);
        put(out + <usize>r * yStride, v, count, accumulate);
      }
      return;
    }
    expandF16(panel, blocks, scratch);
    expanded = scratch;
  }
  const second = scratch + <usize>blocks * BLOCK_BYTES_F32;
  let r = 0;
  for (; r + 1 < numRows; r += 2) {
    const at = x + <usize>r * xStride;
    const v = dotF32Two(expanded, at, at + xStride, blocks, second);
    put(out + <usize>r * yStride, f32x4.mul(v, scale), count, accumulate);
    put(out + <usize>(r + 1) * yStride, f32x4.mul(v128.load(second), scale), count, accumulate);
  }
  if (r < numRows) {
    const v = f32x4.mul(dotF32(expanded, x + <usize>r * xStride, blocks), scale);
    put(out + <usize>r * yStride, v, count, accumulate);
  }
}

@inline
function integerPanel(
  panel: usize, format: i32, blocks: i32, x: usize, xStride: usize, numRows: i32,
  out: usize, yStride: usize, accumulate: i32, count: i32, scratch: usize,
): void {
  for (let r = 0; r < numRows; r++) {
    const at = x + <usize>r * xStride;
    let v: v128;
    if (format == Q8) v = dotQ8(panel, at, blocks);
    else v = format == Q4 ? dotQ4(panel, at, blocks, scratch) : dotMxfp4(panel, at, blocks, scratch);
    put(out + <usize>r * yStride, v, count, accumulate);
  }
}

function expand(panel: usize, format: i32, blocks: i32, out: usize): void {
  if (format == Q8) expandQ8(panel, blocks, out);
  else if (format == Q4) expandQ4(panel, blocks, out);
  else expandMxfp4(panel, blocks, out);
}

/** A panel and the one `second` bytes behind it, or the panel alone (0), of which `count` outputs are left. */
function panelPair(
  panel: usize, second: usize, format: i32, blocks: i32, x: usize, xStride: usize, numRows: i32,
  out: usize, yStride: usize, accumulate: i32, count: i32, scratch: usize,
): void {
  const apart = second ? <usize>blocks * BLOCK_BYTES_PAIRS : 0;
  expand(panel, format, blocks, scratch);
  if (second) expand(panel + second, format, blocks, scratch + apart);
  const sums = scratch + 2 * <usize>blocks * BLOCK_BYTES_PAIRS;
  for (let r = 0; r < numRows; ) {
    // At least EXPAND_FROM_ROWS, so that none is left alone.
    const left = numRows - r;
    const rows = left < 4 ? left : left == 5 ? 3 : 4;
    const at = x + <usize>r * xStride;
    if (format == MXFP4) {
      if (rows == 4) tileOfFourPowers(scratch, apart, blocks, at, xStride, sums);
      else if (rows == 3) tileOfThreePowers(scratch, apart, blocks, at, xStride, sums);
      else tileOfTwoPowers(scratch, apart, blocks, at, xStride, sums);
    } else {
      if (rows == 4) tileOfFour(scratch, apart, blocks, at, xStride, sums);
      else if (rows == 3) tileOfThree(scratch, apart, blocks, at, xStride, sums);
      else tileOfTwo(scratch, apart, blocks, at, xStride, sums);
    }
    for (let i = 0; i < rows; i++) {
      const to = out + <usize>(r + i) * yStride;
      const from = sums + ((<usize>i) << 5);
      put(to, v128.load(from), count, accumulate);
      if (second) put(to + 16, v128.load(from, 16), count - 4, accumulate);
    }
    r += rows;
  }
}

/** Decodes one row of a packed matrix, as an embedding, to blocks × 32 f32. */
export function decodeRow(w: usize, format: i32, blocks: i32, row: i32, out: usize): void {
  const panel = w + <usize>(row >> 2) * panelBytes(format, blocks);
  const r = <usize>(row & 3);
  for (let b = 0; b < blocks; b++) {
    const to = out + ((<usize>b) << 7);
    if (format == F32) {
      const at = panel + <usize>b * BLOCK_BYTES_F32 + (r << 4);
      for (let i: usize = 0; i < 8; i++) v128.store(to + (i << 4), v128.load(at + (i << 6)));
    } else if (format == F16) {
      const at = panel + <usize>b * BLOCK_BYTES_F16 + (r << 4);
      for (let i: usize = 0; i < 4; i++) {
        const scale = f32x4.splat(5192296858534827628530496329220096.0);
        v128.store(to + (i << 5), f32x4.mul(unscaledHalves(v128.load16x4_s(at + (i << 6))), scale));
        v128.store(to + (i << 5), f32x4.mul(unscaledHalves(v128.load16x4_s(at + (i << 6), 8)), scale), 16);
      }
    } else {
      decodeQuantized(panel, format, b, r, to);
    }
  }
}

function decodeQuantized(panel: usize, format: i32, b: i32, r: usize, out: usize): void {
  const block = panel + <usize>b * blockBytes(format);
  v128.store(out, format == MXFP4 ? loadPowers(block) : loadScales(block));
  const scale = f32x4.splat(load<f32>(out + (r << 2)));
  for (let i: i32 = 3; i >= 0; i--) {
    let v: v128;
    if (format == Q8) v = v128.load8x8_s(block + 8 + (r << 5) + ((<usize>i) << 3));
    else if (format == MXFP4) v = eightMxfp4(block + 4 + (r << 4), i);
    else v = i16x8.shr_s(i16x8.shl(v128.load(block + 8 + (r << 4)), 12 - (i << 2)), 12);
    const to = out + ((<usize>i) << 5);
    v128.store(to, f32x4.mul(f32x4.convert_i32x4_s(i32x4.extend_low_i16x8_s(v)), scale));
    v128.store(to, f32x4.mul(f32x4.convert_i32x4_s(i32x4.extend_high_i16x8_s(v)), scale), 16);
  }
}

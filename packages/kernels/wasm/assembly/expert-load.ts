// Converts a shard (packages/weights/src/layout.ts: column-block-major, for WebGPU) to panels of four rows (dense/panels.ts) when
// an expert is loaded: the same weights in another order.
import { decodeRow, panelBytes } from './dense/gemm';
import { BLOCK_BYTES_F16, BLOCK_BYTES_MXFP4, BLOCK_BYTES_Q4, BLOCK_BYTES_Q8 } from './dense/panels';
import { F16, MXFP4, Q8 } from './dense/prepare';

/** Converts one matrix of a shard, `values` and `scales` as in MatrixLayout. Missing rows of the last panel are zeros. */
export function repack(format: i32, values: usize, scales: usize, rows: i32, cols: i32, out: usize): void {
  const blocks = (cols + 31) >> 5;
  const panels = (rows + 3) >> 2;
  memory.fill(out, 0, <usize>panels * panelBytes(format, blocks));
  for (let panel = 0; panel < panels; panel++) {
    const row = panel << 2;
    const count = min(4, rows - row);
    const to = out + <usize>panel * panelBytes(format, blocks);
    if (format == F16) repackF16(values, rows, (cols + 7) >> 3, row, count, to);
    else if (format == Q8) repackQ8(values, scales, rows, blocks, row, count, to);
    else if (format == MXFP4) repackMxfp4(values, scales, rows, blocks, row, count, to);
    else repackQ4(values, scales, rows, blocks, row, count, to);
  }
}

/** [colBlocks of 8][rows][8 halves] */
function repackF16(values: usize, rows: i32, colBlocks: i32, row: i32, count: i32, to: usize): void {
  for (let b = 0; b < colBlocks; b++) {
    const from = values + ((<usize>b * rows + row) << 4);
    for (let r: usize = 0; r < <usize>count; r++) v128.store(to + (r << 4), v128.load(from + (r << 4)));
    to += BLOCK_BYTES_F16 / 4;
  }
}

/** [blocks][2][rows][16 int8] */
function repackQ8(values: usize, scales: usize, rows: i32, blocks: i32, row: i32, count: i32, to: usize): void {
  const half = <usize>rows << 4;
  for (let b = 0; b < blocks; b++) {
    const from = values + ((<usize>(2 * b) * rows + row) << 4);
    const scale = scales + ((<usize>b * rows + row) << 1);
    for (let r: usize = 0; r < <usize>count; r++) {
      store<u16>(to + (r << 1), load<u16>(scale + (r << 1)));
      v128.store(to + (r << 5), v128.load(from + (r << 4)), 8);
      v128.store(to + (r << 5), v128.load(from + half + (r << 4)), 24);
    }
    to += BLOCK_BYTES_Q8;
  }
}

/** [blocks][rows][16 B]: byte j holds n + 8 of column j in its low nibble, of column j + 16 in its high one. */
function repackQ4(values: usize, scales: usize, rows: i32, blocks: i32, row: i32, count: i32, to: usize): void {
  for (let b = 0; b < blocks; b++) {
    const from = values + ((<usize>b * rows + row) << 4);
    const scale = scales + ((<usize>b * rows + row) << 1);
    for (let r: usize = 0; r < <usize>count; r++) {
      store<u16>(to + (r << 1), load<u16>(scale + (r << 1)));
      // n + 8 and n's two's complement differ in the highest of the four bits.
      const packed = v128.xor(v128.load(from + (r << 4)), i8x16.splat(<i8>0x88));
      const low = v128.and(packed, i8x16.splat(15));
      const high = v128.and(i16x8.shr_u(packed, 4), i8x16.splat(15));
      const first = v128.or(i16x8.extend_low_i8x16_u(low), i16x8.shl(i16x8.extend_high_i8x16_u(low), 4));
      const second = v128.or(
        i16x8.shl(i16x8.extend_low_i8x16_u(high), 8),
        i16x8.shl(i16x8.extend_high_i8x16_u(high), 12),
      );
      v128.store(to + (r << 4), v128.or(first, second), 8);
    }
    to += BLOCK_BYTES_Q4;
  }
}

/** [blocks][rows][16 B], as in a panel; scales [blocks][rows] bytes. */
function repackMxfp4(values: usize, scales: usize, rows: i32, blocks: i32, row: i32, count: i32, to: usize): void {
  for (let b = 0; b < blocks; b++) {
    const from = values + ((<usize>b * rows + row) << 4);
    const scale = scales + (<usize>b * rows + row);
    for (let r: usize = 0; r < <usize>count; r++) {
      store<u8>(to + r, load<u8>(scale + r));
      v128.store(to + (r << 4), v128.load(from + (r << 4)), 4);
    }
    to += BLOCK_BYTES_MXFP4;
  }
}

/** Σ w² of a matrix in panels, for a bound on the norm of a correct result. `scratch` has room for a row of floats in whole blocks. */
export function sumOfSquares(w: usize, format: i32, rows: i32, blocks: i32, scratch: usize): f64 {
  let total: f64 = 0;
  const end = scratch + (<usize>blocks << 7);
  for (let row = 0; row < rows; row++) {
    decodeRow(w, format, blocks, row, scratch);
    // In f64, since squares of the least and largest weights of MXFP4 are beyond f32.
    let sum = f64x2.splat(0);
    for (let p = scratch; p < end; p += 8) {
      const v = f64x2.promote_low_f32x4(v128.load64_zero(p));
      sum = f64x2.add(sum, f64x2.mul(v, v));
    }
    total += f64x2.extract_lane(sum, 0) + f64x2.extract_lane(sum, 1);
  }
  return total;
}

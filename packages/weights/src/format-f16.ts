import { f16ToF32, f32ToF16 } from '@shoal/model';
import { badWeight } from './bad-weight.ts';
import { ROW_TILE } from './format-blocks.ts';
import { BLOCK_COLS, type MatrixLayout } from './layout.ts';

/**
 * f16 experts. Values [colBlocks][rows][8] halves, no scales.
 * The views below are in the platform's byte order, which is little-endian wherever Node and WebGPU run.
 */

const BLOCK = BLOCK_COLS.f16;
/** Float32 magnitudes, as bits, that become normal halves: from 2^-14 to just below the least that rounds to ∞. */
const MIN_NORMAL_BITS = 0x38800000;
const NORMAL_BITS = 0x477ff000 - MIN_NORMAL_BITS;

const valuesOf = (matrix: MatrixLayout, bytes: Uint8Array): Uint16Array =>
  new Uint16Array(bytes.buffer, bytes.byteOffset + matrix.valuesOffset, matrix.valuesBytes / 2);

/** Rounds to nearest even. Throws WeightsError `bad-weight` for NaN, ∞ and overflow. */
export function packF16(matrix: MatrixLayout, source: Float32Array, bytes: Uint8Array, startRow: number): void {
  const { rows, cols, colBlocks } = matrix;
  const stopRow = startRow + source.length / cols;
  const bits = new Uint32Array(source.buffer, source.byteOffset, source.length);
  const target = valuesOf(matrix, bytes);
  for (let firstRow = startRow; firstRow < stopRow; firstRow += ROW_TILE) {
    const endRow = Math.min(stopRow, firstRow + ROW_TILE);
    for (let block = 0; block < colBlocks; block++) {
      const numCols = Math.min(BLOCK, cols - block * BLOCK);
      for (let row = firstRow; row < endRow; row++) {
        const from = (row - startRow) * cols + block * BLOCK;
        const to = (block * rows + row) * BLOCK;
        for (let i = 0; i < numCols; i++) {
          const b = bits[from + i]!;
          const magnitude = b & 0x7fffffff;
          if ((magnitude - MIN_NORMAL_BITS) >>> 0 < NORMAL_BITS) {
            // f32ToF16's rounding without a call, since nearly every weight takes this branch.
            const rounded = magnitude - 0x38000000 + 0xfff + ((magnitude >>> 13) & 1);
            target[to + i] = ((b >>> 16) & 0x8000) | (rounded >>> 13);
          } else {
            const half = f32ToF16(source[from + i]!);
            if ((half & 0x7c00) === 0x7c00) throw badWeight(matrix, source, from + i, startRow);
            target[to + i] = half;
          }
        }
      }
    }
  }
}

/** [numRows, cols], from `startRow` on. */
export function unpackF16(matrix: MatrixLayout, bytes: Uint8Array, startRow: number, numRows: number): Float32Array {
  const { rows, cols, colBlocks } = matrix;
  const stopRow = startRow + numRows;
  const source = valuesOf(matrix, bytes);
  const target = new Float32Array(numRows * cols);
  for (let firstRow = startRow; firstRow < stopRow; firstRow += ROW_TILE) {
    const endRow = Math.min(stopRow, firstRow + ROW_TILE);
    for (let block = 0; block < colBlocks; block++) {
      const numCols = Math.min(BLOCK, cols - block * BLOCK);
      for (let row = firstRow; row < endRow; row++) {
        const from = (block * rows + row) * BLOCK;
        const to = (row - startRow) * cols + block * BLOCK;
        for (let i = 0; i < numCols; i++) target[to + i] = f16ToF32(source[from + i]!);
      }
    }
  }
  return target;
}

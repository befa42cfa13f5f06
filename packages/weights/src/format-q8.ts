import { f16ToF32, f32ToF16 } from '@shoal/model';
import { badWeight } from './bad-weight.ts';
import { BLOCK_COLS, type MatrixLayout } from './layout.ts';

/**
 * q8 experts: w = scale × n, n in −127..127, a scale for 32 columns of a row. Values [colBlocks][2][rows][16] int8, scales
 * [colBlocks][rows] halves, in the platform's byte order, which is little-endian wherever Node and WebGPU run.
 */

const BLOCK = BLOCK_COLS.q8;
const HALF_BLOCK = BLOCK / 2;
/** Rows packed together: four 16-byte vectors fill a cache line of the target, so each is written once. */
const ROW_TILE = 4;
/** Largest magnitude of a quantised weight: symmetric, so −128 stays unused. */
const Q8_MAX = 127;

interface Sections {
  quants: Int8Array;
  scales: Uint16Array;
}

const sectionsOf = (matrix: MatrixLayout, bytes: Uint8Array): Sections => ({
  quants: new Int8Array(bytes.buffer, bytes.byteOffset + matrix.valuesOffset, matrix.valuesBytes),
  scales: new Uint16Array(bytes.buffer, bytes.byteOffset + matrix.scalesOffset, matrix.scalesBytes / 2),
});

/**
 * Per block: scale = absmax / 127 rounded to f16, and w / scale rounded with that rounded scale: |error| ≤ scale / 2.
 * Throws WeightsError `bad-weight` for NaN, ∞ and a scale that overflows.
 */
export function packQ8(matrix: MatrixLayout, source: Float32Array, bytes: Uint8Array, startRow: number): void {
  const { rows, cols, colBlocks } = matrix;
  const stopRow = startRow + source.length / cols;
  const { quants, scales } = sectionsOf(matrix, bytes);
  for (let firstRow = startRow; firstRow < stopRow; firstRow += ROW_TILE) {
    const endRow = Math.min(stopRow, firstRow + ROW_TILE);
    for (let block = 0; block < colBlocks; block++) {
      const numCols = Math.min(BLOCK, cols - block * BLOCK);
      for (let row = firstRow; row < endRow; row++) {
        const from = (row - startRow) * cols + block * BLOCK;
        const scaleBits = scaleOf(matrix, source, from, numCols, startRow);
        const scale = f16ToF32(scaleBits);
        scales[block * rows + row] = scaleBits;
        if (scale === 0) continue;
        const low = (2 * block * rows + row) * HALF_BLOCK;
        const high = low + rows * HALF_BLOCK - HALF_BLOCK;
        for (let i = 0; i < numCols; i++) {
          quants[(i < HALF_BLOCK ? low : high) + i] = Math.floor(source[from + i]! / scale + 0.5);
        }
      }
    }
  }
}

/** The f16 bits of a block's scale: absmax / 127, nudged up where rounding down would push the largest weight past 127. */
function scaleOf(matrix: MatrixLayout, source: Float32Array, from: number, numCols: number, startRow: number): number {
  let absMax = 0;
  let largest = from;
  for (let i = from; i < from + numCols; i++) {
    const magnitude = Math.abs(source[i]!);
    // Written so that NaN also becomes the largest, and is then refused.
    if (!(magnitude <= absMax)) {
      absMax = magnitude;
      largest = i;
      if (Number.isNaN(magnitude)) break;
    }
  }
  if (absMax === 0) return 0;
  let scaleBits = f32ToF16(absMax / Q8_MAX);
  if (!(Math.round(absMax / f16ToF32(scaleBits)) <= Q8_MAX)) scaleBits++;
  if ((scaleBits & 0x7c00) === 0x7c00) throw badWeight(matrix, source, largest, startRow);
  return scaleBits;
}

/** [numRows, cols], from `startRow` on. */
export function unpackQ8(matrix: MatrixLayout, bytes: Uint8Array, startRow: number, numRows: number): Float32Array {
  const { rows, cols, colBlocks } = matrix;
  const stopRow = startRow + numRows;
  const { quants, scales } = sectionsOf(matrix, bytes);
  const target = new Float32Array(numRows * cols);
  for (let firstRow = startRow; firstRow < stopRow; firstRow += ROW_TILE) {
    const endRow = Math.min(stopRow, firstRow + ROW_TILE);
    for (let block = 0; block < colBlocks; block++) {
      const numCols = Math.min(BLOCK, cols - block * BLOCK);
      for (let row = firstRow; row < endRow; row++) {
        const scale = f16ToF32(scales[block * rows + row]!);
        const to = (row - startRow) * cols + block * BLOCK;
        const low = (2 * block * rows + row) * HALF_BLOCK;
        const high = low + rows * HALF_BLOCK - HALF_BLOCK;
        for (let i = 0; i < numCols; i++) target[to + i] = quants[(i < HALF_BLOCK ? low : high) + i]! * scale;
      }
    }
  }
  return target;
}

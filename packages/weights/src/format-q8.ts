import { f16ToF32, f32ToF16 } from '@shoal/model';
import { badWeight } from './bad-weight.ts';
import { forEachBlock, HALF_BLOCK, sectionsOf } from './format-blocks.ts';
import type { MatrixLayout } from './layout.ts';

/**
 * q8 experts: w = scale × n, n in −127..127, one scale for 32 columns of a row. Values [colBlocks][2][rows][16] int8, scales
 * [colBlocks][rows] halves.
 */

/** Largest magnitude of a quantised weight. Symmetric, so −128 is not used. */
const Q8_MAX = 127;

/**
 * Per block: scale = absmax / 127 rounded to f16, and w / scale rounded with that rounded scale: |error| ≤ scale / 2.
 * Throws WeightsError `bad-weight` for NaN, ∞ and a scale that overflows.
 */
export function packQ8(matrix: MatrixLayout, source: Float32Array, bytes: Uint8Array, startRow: number): void {
  const { rows, cols } = matrix;
  const { values, scales } = sectionsOf(matrix, bytes);
  forEachBlock(matrix, startRow, source.length / cols, (block, row, from, numCols) => {
    const scaleBits = scaleOf(matrix, source, from, numCols, startRow);
    const scale = f16ToF32(scaleBits);
    scales[block * rows + row] = scaleBits;
    if (scale === 0) return;
    writeCodes(source, from, numCols, scale, values, (2 * block * rows + row) * HALF_BLOCK, rows * HALF_BLOCK);
  });
}

/** A block's first 16 codes are at `low` in the values, the other 16 are `apart` further on. */
function writeCodes(
  source: Float32Array,
  from: number,
  numCols: number,
  scale: number,
  values: Uint8Array,
  low: number,
  apart: number,
): void {
  const high = low + apart - HALF_BLOCK;
  for (let i = 0; i < numCols; i++) {
    values[(i < HALF_BLOCK ? low : high) + i] = Math.floor(source[from + i]! / scale + 0.5);
  }
}

/** The f16 bits of a block's scale: absmax / 127, or the next f16 if rounding down would push the largest weight past 127. */
function scaleOf(matrix: MatrixLayout, source: Float32Array, from: number, numCols: number, startRow: number): number {
  let absMax = 0;
  let largest = from;
  for (let i = from; i < from + numCols; i++) {
    const magnitude = Math.abs(source[i]!);
    // NaN counts as the largest too, and is then rejected.
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
  const { rows, cols } = matrix;
  const { values, scales } = sectionsOf(matrix, bytes);
  const quants = new Int8Array(values.buffer, values.byteOffset, values.length);
  const target = new Float32Array(numRows * cols);
  forEachBlock(matrix, startRow, numRows, (block, row, to, numCols) => {
    const scale = f16ToF32(scales[block * rows + row]!);
    const low = (2 * block * rows + row) * HALF_BLOCK;
    const high = low + rows * HALF_BLOCK - HALF_BLOCK;
    for (let i = 0; i < numCols; i++) target[to + i] = quants[(i < HALF_BLOCK ? low : high) + i]! * scale;
  });
  return target;
}

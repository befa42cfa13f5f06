import { f32ToF16, type Int4Rows } from '@shoal/model';
import { BLOCK, forEachBlock, HALF_BLOCK, sectionsOf } from './format-blocks.ts';
import type { MatrixLayout } from './layout.ts';

/** What q4 stores for the code 0, and thus for the columns after the last. */
const ZERO_CODE = 8;

/**
 * Packs rows that are 4-bit integers with a scale for 32 columns already as q4, from `startRow` on: the same codes, and the scales
 * rounded to f16. That loses nothing of scales that were f16, or BF16 of at least 2^-14 (f16 has more bits, and less range); of
 * any other of that size 2^-11 at most. Returns false, having written nothing, if a scale is too large for f16.
 */
export function packQ4Codes(
  matrix: MatrixLayout,
  { codes, scales: sourceScales }: Int4Rows,
  bytes: Uint8Array,
  startRow: number,
): boolean {
  const halves = Uint16Array.from(sourceScales, f32ToF16);
  if (halves.some((half) => (half & 0x7c00) === 0x7c00)) return false;
  const { rows, cols } = matrix;
  const { values, scales } = sectionsOf(matrix, bytes);
  const blocks = Math.ceil(cols / BLOCK);
  forEachBlock(matrix, startRow, codes.length / cols, (block, row, from, numCols) => {
    scales[block * rows + row] = halves[(row - startRow) * blocks + block]!;
    const codeAt = (col: number): number => (col < numCols ? codes[from + col]! + ZERO_CODE : ZERO_CODE);
    const at = (block * rows + row) * HALF_BLOCK;
    for (let j = 0; j < HALF_BLOCK; j++) values[at + j] = codeAt(j) | (codeAt(j + HALF_BLOCK) << 4);
  });
  return true;
}

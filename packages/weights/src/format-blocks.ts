import { BLOCK_COLS, type MatrixLayout } from './layout.ts';

/** Columns of a block of q8 and q4, which share a scale. */
export const BLOCK = BLOCK_COLS.q8;
export const HALF_BLOCK = BLOCK / 2;
/** Rows packed together: four 16-byte vectors fill a cache line of the target, so each is written once. */
export const ROW_TILE = 4;

/**
 * The sections of a matrix of 32-column blocks in a shard, in the platform's byte order, which is little-endian wherever Node
 * and WebGPU run.
 */
export function sectionsOf(matrix: MatrixLayout, { buffer, byteOffset }: Uint8Array) {
  return {
    values: new Uint8Array(buffer, byteOffset + matrix.valuesOffset, matrix.valuesBytes),
    scales: new Uint16Array(buffer, byteOffset + matrix.scalesOffset, matrix.scalesBytes / 2),
  };
}

/**
 * Calls `visit` for each block of 32 columns in rows [startRow, startRow + numRows), a tile of rows after another. `at` is the
 * index of the block's first weight in [numRows, cols], `numCols` how many of its columns the matrix has.
 */
export function forEachBlock(
  { cols, colBlocks }: MatrixLayout,
  startRow: number,
  numRows: number,
  visit: (block: number, row: number, at: number, numCols: number) => void,
): void {
  const stopRow = startRow + numRows;
  for (let firstRow = startRow; firstRow < stopRow; firstRow += ROW_TILE) {
    const endRow = Math.min(stopRow, firstRow + ROW_TILE);
    for (let block = 0; block < colBlocks; block++) {
      const numCols = Math.min(BLOCK, cols - block * BLOCK);
      for (let row = firstRow; row < endRow; row++) visit(block, row, (row - startRow) * cols + block * BLOCK, numCols);
    }
  }
}

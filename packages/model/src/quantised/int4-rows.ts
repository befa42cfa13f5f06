import type { Int4Rows } from '../int4.ts';

const BLOCK_COLS = 32;

/** Rows with a scale for each 32 columns; undefined where a block has columns of several groups. */
export function int4RowsOf(
  numRows: number,
  cols: number,
  groupOf: Int32Array,
  stored: { code: (row: number, col: number) => number; scale: (row: number, group: number) => number },
): Int4Rows | undefined {
  for (let c = 0; c < cols; c++) {
    if (groupOf[c] !== groupOf[c - (c % BLOCK_COLS)]) return undefined;
  }
  const blocks = Math.ceil(cols / BLOCK_COLS);
  const codes = new Int8Array(numRows * cols);
  const scales = new Float32Array(numRows * blocks);
  for (let r = 0; r < numRows; r++) {
    for (let c = 0; c < cols; c++) codes[r * cols + c] = stored.code(r, c);
    for (let block = 0; block < blocks; block++) {
      scales[r * blocks + block] = stored.scale(r, groupOf[block * BLOCK_COLS]!);
    }
  }
  return { codes, scales };
}

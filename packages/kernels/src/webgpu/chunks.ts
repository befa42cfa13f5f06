import { rowRange, rowStart, type RowWork } from '@shoal/model';

/** Rows [firstRow, endRow) of a lap, computed together. */
export interface Chunk {
  firstRow: number;
  endRow: number;
  firstAssignment: number;
  endAssignment: number;
}

/** Cuts a lap into the fewest runs of rows within both limits. A single row is never cut. */
export function chunkRows(lap: RowWork, maxRows: number, maxAssignments: number): Chunk[] {
  const chunks: Chunk[] = [];
  let firstRow = 0;
  for (let row = 0; row < lap.numRows; row++) {
    const firstAssignment = rowStart(lap, firstRow);
    const fits = row - firstRow < maxRows && lap.rowEnd[row]! - firstAssignment <= maxAssignments;
    if (fits || row === firstRow) continue;
    chunks.push(chunkOf(lap, firstRow, row));
    firstRow = row;
  }
  if (firstRow < lap.numRows) chunks.push(chunkOf(lap, firstRow, lap.numRows));
  return chunks;
}

function chunkOf(lap: RowWork, firstRow: number, endRow: number): Chunk {
  const [firstAssignment, endAssignment] = rowRange(lap, firstRow, endRow);
  return { firstRow, endRow, firstAssignment, endAssignment };
}

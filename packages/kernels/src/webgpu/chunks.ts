import { rowStart } from '../check-work-item.ts';

/** Rows with their assignments: of a lap, or of several one after the other. */
export interface RowWork {
  numRows: number;
  /** [numRows], ascending; the assignments of row r are rowEnd[r-1] (0 for the first) up to rowEnd[r]. */
  rowEnd: ArrayLike<number>;
  /** [numAssignments], numbers that stand for experts. */
  experts: ArrayLike<number>;
  /** [numAssignments], the gate's weights. */
  weights: ArrayLike<number>;
}

/** Rows [firstRow, endRow) of a lap, computed together. */
export interface Chunk {
  firstRow: number;
  endRow: number;
  firstAssignment: number;
  endAssignment: number;
}

/** Cut a lap into as few runs of rows as keep within both limits. A row by itself is always taken whole. */
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
  return { firstRow, endRow, firstAssignment: rowStart(lap, firstRow), endAssignment: lap.rowEnd[endRow - 1]! };
}

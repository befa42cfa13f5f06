/** Rows with their assignments: a (row, expert) each, with the gate's weight. */
export interface RowWork {
  numRows: number;
  /** [numRows], ascending: one past the last assignment of each row. `rowStart` and `rowRange` read it. */
  rowEnd: ArrayLike<number>;
  /** [numAssignments], expert index within the layer. */
  experts: ArrayLike<number>;
  /** [numAssignments], the gate's weights. */
  weights: ArrayLike<number>;
}

/** The rows of one MoE layer with their assignments: what a lap asks of one peer. */
export interface WorkItem extends RowWork {
  layer: number;
  /** f16 bits, [numRows, hiddenSize] */
  rows: Uint16Array;
  rowEnd: Uint16Array;
  experts: Uint16Array;
  weights: Float32Array;
}

/** The first assignment of a row; of row `numRows`, the number of all assignments. */
export function rowStart({ rowEnd }: Pick<RowWork, 'rowEnd'>, row: number): number {
  return row === 0 ? 0 : rowEnd[row - 1]!;
}

/** The assignments [from, to) of rows [firstRow, endRow). */
export function rowRange(work: Pick<RowWork, 'rowEnd'>, firstRow: number, endRow = firstRow + 1): [number, number] {
  return [rowStart(work, firstRow), rowStart(work, endRow)];
}

/** [numRows] row ends where each row has the same number of assignments. */
export function uniformRowEnd(numRows: number, perRow: number): Uint32Array {
  return Uint32Array.from({ length: numRows }, (_, row) => (row + 1) * perRow);
}

/** A work item whose rows all have the same number of assignments. The arrays are not copied. */
export function uniformWorkItem(fields: Omit<WorkItem, 'rowEnd'>): WorkItem {
  const { numRows, experts } = fields;
  return { ...fields, rowEnd: Uint16Array.from(uniformRowEnd(numRows, experts.length / numRows)) };
}

/** One row and its assignments. */
export interface AssignedRow {
  /** f16 bits, [hiddenSize] */
  row: Uint16Array;
  experts: ArrayLike<number>;
  weights: ArrayLike<number>;
}

/** A work item of these rows, which are copied. */
export function workItemOfRows(layer: number, assigned: readonly AssignedRow[]): WorkItem {
  const hiddenSize = assigned[0]?.row.length ?? 0;
  let end = 0;
  const rowEnd = Uint16Array.from(assigned, ({ experts }) => (end += experts.length));
  const rows = new Uint16Array(assigned.length * hiddenSize);
  const [experts, weights] = [new Uint16Array(end), new Float32Array(end)];
  const item = { layer, numRows: assigned.length, rows, rowEnd, experts, weights };
  for (const [i, each] of assigned.entries()) {
    rows.set(each.row, i * hiddenSize);
    experts.set(each.experts, rowStart(item, i));
    weights.set(each.weights, rowStart(item, i));
  }
  return item;
}

/** Rows [firstRow, endRow) as an item of their own; all but `rowEnd` are views. */
export function sliceRows(item: WorkItem, firstRow: number, endRow = firstRow + 1): WorkItem {
  const hiddenSize = item.rows.length / item.numRows;
  const [from, to] = rowRange(item, firstRow, endRow);
  return {
    layer: item.layer,
    numRows: endRow - firstRow,
    rows: item.rows.subarray(firstRow * hiddenSize, endRow * hiddenSize),
    rowEnd: item.rowEnd.subarray(firstRow, endRow).map((end) => end - from),
    experts: item.experts.subarray(from, to),
    weights: item.weights.subarray(from, to),
  };
}

/**
 * Some assignments (ascending) and the rows that have them, as an item of their own. `picked` are those rows within `work`.
 * `rows` is not copied where all of them are picked.
 */
export function pickAssignments(
  work: RowWork & Pick<WorkItem, 'layer' | 'rows'>,
  assignments: readonly number[],
): { item: WorkItem; picked: number[] } {
  const hiddenSize = work.rows.length / work.numRows;
  const picked: number[] = [];
  const ends: number[] = [];
  let row = 0;
  for (const [i, a] of assignments.entries()) {
    while (a >= work.rowEnd[row]!) row++;
    if (picked.at(-1) !== row) {
      picked.push(row);
      ends.push(0);
    }
    ends[ends.length - 1] = i + 1;
  }
  let { rows } = work;
  if (picked.length < work.numRows) {
    rows = new Uint16Array(picked.length * hiddenSize);
    for (const [i, from] of picked.entries())
      rows.set(work.rows.subarray(from * hiddenSize, (from + 1) * hiddenSize), i * hiddenSize);
  }
  const item = {
    layer: work.layer,
    numRows: picked.length,
    rows,
    rowEnd: Uint16Array.from(ends),
    experts: Uint16Array.from(assignments, (a) => work.experts[a]!),
    weights: Float32Array.from(assignments, (a) => work.weights[a]!),
  };
  return { item, picked };
}

/** A copy that shares no buffer with the item, so that it can be kept or sent to a thread. */
export function copyWorkItem({ layer, numRows, rows, rowEnd, experts, weights }: WorkItem): WorkItem {
  return {
    layer,
    numRows,
    rows: rows.slice(),
    rowEnd: rowEnd.slice(),
    experts: experts.slice(),
    weights: weights.slice(),
  };
}

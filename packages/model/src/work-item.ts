import { copyAdapters, type ItemAdapters, pickAdapters } from './adapters/item-adapters.ts';
import { decodeF16, encodeF16, f16Exponent } from './f16.ts';

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

/** Rows as int8 with one scale for each block of a row (`@shoal/protocol`). */
export interface Int8Rows {
  /** [numRows, hiddenSize]; 0 where an outlier is. */
  codes: Int8Array;
  /** [numRows, blocks of a row] */
  scales: Uint8Array;
  /** [numRows]: each row's outliers; undefined for a row, or all, without any. */
  outliers?: readonly (RowOutliers | undefined)[] | undefined;
}

/** Values of a row that are so much larger than the rest of their block that they would take its precision. */
export interface RowOutliers {
  /** Their columns, ascending. */
  at: Uint16Array;
  /** f16 bits */
  halves: Uint16Array;
}

/** The rows of one MoE layer with their assignments: what a lap asks of one peer. */
export interface WorkItem extends RowWork {
  layer: number;
  /** f16 bits, [numRows, hiddenSize]. A row's values are these × 2^exponent (`readRow`). */
  rows: Uint16Array;
  /** [numRows], of rows beyond f16's range; 0 for others, and undefined if there is none (`halfRows`). */
  exponents?: Uint8Array | undefined;
  /** What `rows` was decoded from, where rows travel as int8; so that a frame need not round them again. */
  int8?: Int8Rows | undefined;
  rowEnd: Uint16Array;
  experts: Uint16Array;
  weights: Float32Array;
  /** Absent if nothing is added to any of them. Only the coordinator computes such items. */
  adapters?: ItemAdapters | undefined;
}

/** The first assignment of a row; of row `numRows`, the number of all assignments. */
export function rowStart({ rowEnd }: Pick<RowWork, 'rowEnd'>, row: number): number {
  return row === 0 ? 0 : rowEnd[row - 1]!;
}

/** The assignments [from, to) of rows [firstRow, endRow). */
export function rowRange(work: Pick<RowWork, 'rowEnd'>, firstRow: number, endRow = firstRow + 1): [number, number] {
  return [rowStart(work, firstRow), rowStart(work, endRow)];
}

/** The row of each of these assignments, which ascend. */
export function rowsOfAssignments({ rowEnd }: Pick<RowWork, 'rowEnd'>, assignments: readonly number[]): Uint32Array {
  let row = 0;
  return Uint32Array.from(assignments, (a) => {
    while (a >= rowEnd[row]!) row++;
    return row;
  });
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

/**
 * Rows [numRows, hiddenSize] as f16 with an exponent for each row that exceeds it. A row with NaN, ∞ or more than f16 reaches
 * with the largest exponent becomes NaN and ∞.
 */
export function halfRows(values: Float32Array, hiddenSize: number): Pick<WorkItem, 'rows' | 'exponents'> {
  const rows = new Uint16Array(values.length);
  let exponents: Uint8Array | undefined;
  for (let first = 0; first < values.length; first += hiddenSize) {
    const row = values.subarray(first, first + hiddenSize);
    const exponent = f16Exponent(row) ?? 0;
    const scaled = exponent === 0 ? row : row.map((value) => value * 2 ** -exponent);
    encodeF16(scaled, rows.subarray(first, first + hiddenSize));
    if (exponent === 0) continue;
    exponents ??= new Uint8Array(values.length / hiddenSize);
    exponents[first / hiddenSize] = exponent;
  }
  return { rows, ...(exponents && { exponents }) };
}

/** Writes the values of one row to `target`, [hiddenSize]. */
export function readRow(
  { rows, exponents }: Pick<WorkItem, 'rows' | 'exponents'>,
  row: number,
  target: Float32Array,
): void {
  const D = target.length;
  decodeF16(rows.subarray(row * D, (row + 1) * D), target);
  const exponent = exponents?.[row] ?? 0;
  if (exponent !== 0) for (let d = 0; d < D; d++) target[d] = target[d]! * 2 ** exponent;
}

/** The values of all rows, [numRows, hiddenSize]. */
export function readRows(item: Pick<WorkItem, 'rows' | 'exponents'>, hiddenSize: number): Float32Array {
  const values = new Float32Array(item.rows.length);
  for (let first = 0; first < values.length; first += hiddenSize)
    readRow(item, first / hiddenSize, values.subarray(first, first + hiddenSize));
  return values;
}

/** One row and its assignments. */
export interface AssignedRow {
  /** f16 bits, [hiddenSize] */
  row: Uint16Array;
  /** 0 by default. */
  exponent?: number | undefined;
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
  if (!assigned.some(({ exponent }) => exponent)) return item;
  return { ...item, exponents: Uint8Array.from(assigned, ({ exponent = 0 }) => exponent) };
}

/** What work items are picked from: an item, or a whole call, which may have more assignments than `rowEnd` of an item counts. */
export type RowSource = RowWork & Pick<WorkItem, 'layer' | 'rows' | 'exponents' | 'int8' | 'adapters'>;

/** Rows [firstRow, endRow) as an item of their own; all but `rowEnd` are views. */
export function sliceRows(item: WorkItem, firstRow: number, endRow = firstRow + 1): WorkItem {
  const [from, to] = rowRange(item, firstRow, endRow);
  return {
    layer: item.layer,
    numRows: endRow - firstRow,
    ...mapRows(
      item,
      (values, width) => values.subarray(firstRow * width, endRow * width) as typeof values,
      (outliers) => outliers.slice(firstRow, endRow),
    ),
    rowEnd: item.rowEnd.subarray(firstRow, endRow).map((end) => end - from),
    experts: item.experts.subarray(from, to),
    weights: item.weights.subarray(from, to),
    ...added(pickAdapters(item.adapters, range(from, to))),
  };
}

/**
 * Some assignments (ascending) and the rows that have them, as an item of their own. `picked` are those rows within `work`.
 * Rows are not copied where all of them are picked.
 */
export function pickAssignments(work: RowSource, assignments: readonly number[]): { item: WorkItem; picked: number[] } {
  const picked: number[] = [];
  const ends: number[] = [];
  for (const [i, row] of rowsOfAssignments(work, assignments).entries()) {
    if (picked.at(-1) !== row) {
      picked.push(row);
      ends.push(0);
    }
    ends[ends.length - 1] = i + 1;
  }
  const item = {
    layer: work.layer,
    numRows: picked.length,
    ...mapRows(
      work,
      (values, width) => (picked.length === work.numRows ? values : gather(values, width, picked)),
      (outliers) => picked.map((of) => outliers[of]),
    ),
    rowEnd: Uint16Array.from(ends),
    experts: Uint16Array.from(assignments, (a) => work.experts[a]!),
    weights: Float32Array.from(assignments, (a) => work.weights[a]!),
    ...added(pickAdapters(work.adapters, assignments)),
  };
  return { item, picked };
}

/** The field of a work item; none where no adapter adds to its assignments. */
function added(adapters: ItemAdapters | undefined): Pick<WorkItem, 'adapters'> {
  return adapters ? { adapters } : {};
}

function* range(from: number, to: number): Generator<number> {
  for (let i = from; i < to; i++) yield i;
}

/**
 * A copy to be kept or sent to a thread and computed there, without `int8`. It shares no buffer with the item but those of
 * adapters, which are shared memory.
 */
export function copyWorkItem({
  layer,
  numRows,
  rows,
  exponents,
  rowEnd,
  experts,
  weights,
  adapters,
}: WorkItem): WorkItem {
  return {
    ...(adapters && { adapters: copyAdapters(adapters) }),
    layer,
    numRows,
    rows: rows.slice(),
    ...(exponents && { exponents: exponents.slice() }),
    rowEnd: rowEnd.slice(),
    experts: experts.slice(),
    weights: weights.slice(),
  };
}

type RowValues = Uint16Array | Int8Array | Uint8Array;

/** The item's rows in each form that it has, mapped by `map`, which gets the number of values of a row, and `mapOutliers`. */
function mapRows(
  { rows, exponents, int8, numRows }: Pick<WorkItem, 'rows' | 'exponents' | 'int8' | 'numRows'>,
  map: <Values extends RowValues>(values: Values, width: number) => Values,
  mapOutliers: (outliers: NonNullable<Int8Rows['outliers']>) => Int8Rows['outliers'],
): Pick<WorkItem, 'rows' | 'exponents' | 'int8'> {
  const mapped = <Values extends RowValues>(values: Values): Values => map(values, values.length / numRows);
  const outliers = int8?.outliers && mapOutliers(int8.outliers);
  return {
    rows: mapped(rows),
    ...(exponents && { exponents: mapped(exponents) }),
    ...(int8 && { int8: { codes: mapped(int8.codes), scales: mapped(int8.scales), ...(outliers && { outliers }) } }),
  };
}

/** The picked rows, `width` values each, one after the other. */
function gather<Values extends RowValues>(values: Values, width: number, picked: readonly number[]): Values {
  const gathered = values.slice(0, picked.length * width) as Values;
  for (const [i, row] of picked.entries()) gathered.set(values.subarray(row * width, (row + 1) * width), i * width);
  return gathered;
}

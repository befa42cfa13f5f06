import { encodeF16, f16Exponent, readRows } from '@shoal/model';
import { MAX_HIDDEN_SIZE, MAX_ROWS_PER_LAP } from '../limits.ts';
import { durationCode, durationUs } from './duration.ts';
import { FrameError, requireCount } from './error.ts';
import { requireFiniteF16 } from './finite.ts';
import { frameLayout } from './layout.ts';
import { arePlain, encodePlainInt8, type EncodedRows, itemRows, type RowFormat } from './row-format.ts';
import { layoutName, NO_FINITE_SUM, readFrameRows, rowArrays, rowFields, rowFormatOf } from './rows.ts';
import { formatBits } from './types.ts';

/** Times are encoded by `durationCode`. */
const header = { queue: 'u16', compute: 'u16' } as const;
const known = ['numRows', 'hiddenSize'] as const;

const formats = formatBits.int8Rows | formatBits.largeRows;

/** Peer → coordinator: one row for each row of the dispatch, whatever its number of experts. One layout for each row format. */
export const combineLayouts = {
  f16: frameLayout('combine', { header, known, formats, arrays: rowArrays.f16 }),
  int8: frameLayout('combine', { header, known, formats, arrays: rowArrays.int8 }),
  largeF16: frameLayout('combine', { header, known, formats, arrays: { ...rowArrays.f16, ...rowArrays.largeF16 } }),
  largeInt8: frameLayout('combine', {
    header: { ...header, numOutliers: 'u24' },
    known,
    formats,
    arrays: { ...rowArrays.int8, ...rowArrays.largeInt8 },
  }),
};

export interface CombineHeader {
  lapId: number;
  /** The lap's; not in the frame. */
  numRows: number;
  hiddenSize: number;
  /** The dispatch's format; f16 by default. */
  rowFormat?: RowFormat;
  /** From the dispatch's arrival to its submission, in microseconds, as reported by the peer; rounded by `durationCode`. */
  queueUs: number;
  /** From submission to result, in the same way. */
  computeUs: number;
}

export interface CombineFrame extends CombineHeader {
  /**
   * [numRows, hiddenSize], as rounded: Σ over the row's assignments of weight × expert(row). A row that has no finite sum is all
   * NaN.
   */
  partial: Float32Array;
}

/** What the coordinator knows about the lap whose answer it expects. */
export interface CombineExpectation {
  numRows: number;
  hiddenSize: number;
  /** f16 by default. */
  rowFormat?: RowFormat;
}

/**
 * Rounds f32 sums, [numRows, hiddenSize], straight into a frame allocated by `space`. A row with NaN or ∞, or beyond what an
 * exponent reaches, is marked as one without a finite sum. Throws a FrameError if a number does not fit its field.
 */
export function encodeCombine(
  { partial: sums, ...fields }: CombineFrame,
  space?: (bytes: number) => Uint8Array<ArrayBuffer>,
): Uint8Array<ArrayBuffer> {
  const { numRows, hiddenSize, rowFormat = 'f16' } = fields;
  const numbers = numbersOf(fields);
  if (sums.length !== numRows * hiddenSize) {
    throw new FrameError('bad-count', `combine: ${sums.length} sums, but its lap has ${numRows * hiddenSize}.`);
  }
  if (!arePlain(rowFormat, sums, hiddenSize)) return encodeLarge(rowFormat, numbers, sums);
  if (rowFormat === 'int8') {
    const { bytes, arrays } = combineLayouts.int8.begin(numbers, space);
    encodePlainInt8(sums, hiddenSize, arrays);
    return bytes;
  }
  const { bytes, arrays } = combineLayouts.f16.begin(numbers, space);
  encodeF16(sums, arrays.rows);
  return bytes;
}

function encodeLarge(
  rowFormat: RowFormat,
  numbers: ReturnType<typeof numbersOf>,
  sums: Float32Array,
): Uint8Array<ArrayBuffer> {
  const { numRows, hiddenSize } = numbers;
  const finite = sums.slice();
  const without = notFiniteRows(sums, hiddenSize);
  for (const row of without) finite.fill(0, row * hiddenSize, (row + 1) * hiddenSize);
  const encoded = itemRows(rowFormat, finite, hiddenSize);
  if (without.length > 0) encoded.exponents ??= new Uint8Array(numRows);
  for (const row of without) encoded.exponents![row] = NO_FINITE_SUM;
  const { format, isLarge, numOutliers, arrays } = rowFields(rowFormat, encoded);
  return combineLayouts[layoutName(rowFormat, isLarge)].encode({ ...numbers, ...arrays, numOutliers, format });
}

/** The rows of sums [numRows, hiddenSize] that are not finite, or beyond what an exponent reaches. */
export function notFiniteRows(sums: Float32Array, hiddenSize: number): number[] {
  const rows: number[] = [];
  for (let first = 0; first < sums.length; first += hiddenSize)
    if (f16Exponent(sums.subarray(first, first + hiddenSize)) === undefined) rows.push(first / hiddenSize);
  return rows;
}

/**
 * Throws a FrameError unless `bytes` is one whole combine of the expected shape and format, with only finite values in rows that
 * are not marked as without a sum.
 */
export function decodeCombine(bytes: Uint8Array, expect: CombineExpectation): CombineFrame {
  const { numRows, hiddenSize } = expect;
  // All headers begin alike.
  const { format } = combineLayouts.f16.decodeHeader(bytes) as Record<string, number>;
  const rowFormat = rowFormatOf(format!);
  const { rowFormat: expected = 'f16' } = expect;
  if (rowFormat !== expected) {
    throw new FrameError('mismatch', `combine: rows are ${rowFormat}, but the lap's are ${expected}.`);
  }
  const layout = combineLayouts[layoutName(rowFormat, (format! & formatBits.largeRows) !== 0)];
  const fields = layout.decode(bytes, { ...layout.decodeHeader(bytes), numRows, hiddenSize });
  const rows = readFrameRows('combine.rows', fields, hiddenSize);
  requireFiniteF16('combine.rows', rows.rows);
  const times = { queueUs: durationUs(fields.queue), computeUs: durationUs(fields.compute) };
  const partial = sumsOf(rows, hiddenSize);
  return { lapId: fields.lapId, numRows, hiddenSize, rowFormat, ...times, partial };
}

/** The sums of a frame's rows; NaN for those that are marked as without a sum. */
function sumsOf({ rows, exponents }: Pick<EncodedRows, 'rows' | 'exponents'>, hiddenSize: number): Float32Array {
  const without = [...(exponents ?? [])].flatMap((exponent, row) => (exponent === NO_FINITE_SUM ? [row] : []));
  const sums = readRows({ rows, exponents }, hiddenSize);
  for (const row of without) {
    const values = sums.subarray(row * hiddenSize, (row + 1) * hiddenSize);
    if (values.some((value) => value !== 0))
      throw new FrameError('bad-code', `combine: row ${row} is marked as without a finite sum, but is not 0.`);
    values.fill(Number.NaN);
  }
  return sums;
}

function numbersOf({ lapId, numRows, hiddenSize, rowFormat, queueUs, computeUs }: CombineHeader) {
  requireCount('combine.numRows', numRows, MAX_ROWS_PER_LAP);
  requireCount('combine.hiddenSize', hiddenSize, MAX_HIDDEN_SIZE);
  return {
    lapId,
    numRows,
    hiddenSize,
    format: rowFormat === 'int8' ? formatBits.int8Rows : 0,
    queue: durationCode('combine.queueUs', queueUs),
    compute: durationCode('combine.computeUs', computeUs),
  };
}

import {
  encodeF16,
  f16Exponent,
  f16ToF32,
  f32ToF16,
  halfRows,
  type Int8Rows,
  MAX_F16_EXPONENT,
  readRows,
  type RowOutliers,
  type WorkItem,
} from '@shoal/model';
import { FrameError } from './error.ts';
import { BLOCK as ROW_BLOCK } from './layout.ts';

/** Encodings of rows in a frame: f16, or int8 with a scale for each block of 32 values (a row's last block may be shorter). */
export const ROW_FORMATS = ['f16', 'int8'] as const;
export type RowFormat = (typeof ROW_FORMATS)[number];

/** Rows in the forms that a frame may need. */
export type EncodedRows = Pick<WorkItem, 'rows' | 'exponents' | 'int8'>;

const MAX_CODE = 127;
const MAX_F16 = 65_504;
/** A scale's byte holds 5 bits of exponent and 3 of mantissa of a non-negative f16. From this value on it is not finite. */
const FIRST_BAD_SCALE = 0x7c00 >> 7;

/** Outliers of a block at most. With more, its values are of all sizes, and the scale serves the largest. */
const MAX_OUTLIERS = 2;
/**
 * Values are outliers if the rest of their block needs a scale that is smaller by this many bytes, which is a factor of 4: then
 * the rest would lose 2 of its 7 bits or more, and the 4 bytes of an outlier are well spent.
 */
const OUTLIER_GAP = 16;
/** Less than the factor between magnitudes whose scales are OUTLIER_GAP apart: scales are up to an eighth above what is needed. */
const LEAST_FACTOR = 3.5;

/** Returns the scale that a byte stands for. */
export function rowScale(byte: number): number {
  return f16ToF32(byte << 7);
}

/** 2⁻¹⁷: a block whose largest magnitude is below half of this is sent as zeros. */
export const SMALLEST_ROW_SCALE = rowScale(1);

/**
 * Chooses the scale's byte for a block whose largest magnitude is `max` (at most 65,504). Scales have four significant bits, so
 * scale × code is exact in f16, and rounding a block a second time does not change it.
 */
export function rowScaleByte(max: number): number {
  let byte = f32ToF16(max / MAX_CODE) >> 7;
  while (rowScale(byte) * MAX_CODE < max) byte++;
  if (byte === 0) return 0;
  // Rounding can bring the largest value within reach of the finer scale, which a second rounding would then choose.
  const scale = rowScale(byte);
  return codeOf(max, scale) * scale <= MAX_CODE * rowScale(byte - 1) ? byte - 1 : byte;
}

/** Whether rows fit a plain frame of the format: none exceeds f16, none has outliers, and all are finite. */
export function arePlain(format: RowFormat, values: Float32Array, hiddenSize: number): boolean {
  for (let first = 0; first < values.length; first += hiddenSize) {
    const row = values.subarray(first, first + hiddenSize);
    if (f16Exponent(row) !== 0) return false;
    if (format === 'f16') continue;
    for (let from = 0; from < row.length; from += ROW_BLOCK)
      if (outliersOf(row, from, Math.min(from + ROW_BLOCK, row.length)).length > 0) return false;
  }
  return true;
}

/** Rounds rows for which `arePlain` holds to int8: codes [numRows, hiddenSize], scales [numRows, ⌈hiddenSize / 32⌉]. */
export function encodePlainInt8(rows: Float32Array, hiddenSize: number, { codes, scales }: Int8Rows): void {
  let block = 0;
  for (let row = 0; row < rows.length; row += hiddenSize) {
    for (let first = row; first < row + hiddenSize; first += ROW_BLOCK) {
      scales[block++] = encodeBlock(rows, first, Math.min(first + ROW_BLOCK, row + hiddenSize), codes, NO_OUTLIERS);
    }
  }
}

const NO_OUTLIERS: readonly number[] = [];

/** Writes the codes of the values [first, end), 0 for outliers. Returns the scale's byte. */
function encodeBlock(
  values: Float32Array,
  first: number,
  end: number,
  codes: Int8Array,
  outliers: readonly number[],
): number {
  let max = 0;
  for (let i = first; i < end; i++) if (!outliers.includes(i)) max = Math.max(max, Math.abs(values[i]!));
  const byte = rowScaleByte(Math.min(MAX_F16, max));
  const scale = rowScale(byte);
  for (let i = first; i < end; i++) codes[i] = outliers.includes(i) ? 0 : codeOf(values[i]!, scale);
  return byte;
}

/**
 * Chooses the outliers among the values [first, end) of a row: as many of the largest as leave a rest of a scale smaller by
 * OUTLIER_GAP than the last of them has. If fewer leave a rest that its scale represents exactly, that is enough: values that
 * were rounded before are not changed by being rounded again. Ascending.
 */
function outliersOf(row: Float32Array, first: number, end: number): readonly number[] {
  let max = 0;
  for (let i = first; i < end; i++) max = Math.max(max, Math.abs(row[i]!));
  let large = 0;
  for (let i = first; i < end; i++) if (Math.abs(row[i]!) * LEAST_FACTOR > max) large++;
  // The usual case.
  if (max === 0 || large > MAX_OUTLIERS) return NO_OUTLIERS;
  const order = Array.from({ length: end - first }, (_, i) => first + i);
  order.sort((a, b) => Math.abs(row[b]!) - Math.abs(row[a]!) || a - b);
  let chosen = NO_OUTLIERS;
  for (let n = 0; n <= MAX_OUTLIERS && n < order.length; n++) {
    if (n > 0 && !isGap(Math.abs(row[order[n - 1]!]!), Math.abs(row[order[n]!]!))) continue;
    chosen = order.slice(0, n);
    if (isExact(row, order.slice(n))) break;
  }
  return chosen.toSorted((a, b) => a - b);
}

/** Whether a value of this magnitude is an outlier beside a rest that reaches up to `rest`. Outliers are rounded to f16 first. */
function isGap(outlier: number, rest: number): boolean {
  const rounded = f16ToF32(f32ToF16(Math.min(MAX_F16, outlier)));
  return rowScaleByte(rounded) - rowScaleByte(Math.min(MAX_F16, rest)) >= OUTLIER_GAP;
}

/** Whether the values of these columns, largest first, lose nothing. */
function isExact(row: Float32Array, columns: readonly number[]): boolean {
  const scale = rowScale(rowScaleByte(Math.min(MAX_F16, Math.abs(row[columns[0]!]!))));
  return columns.every((i) => codeOf(row[i]!, scale) * scale === row[i]);
}

/**
 * The largest step with which an honest encoder may have rounded the values [first, end) of a row, if its own values differ from
 * these by up to `delta` each.
 */
export function largestStep(row: Float32Array, first: number, end: number, delta: number): number {
  const magnitudes = Array.from(row.subarray(first, end), Math.abs).sort((a, b) => b - a);
  let rest = 0;
  for (let n = 1; n <= MAX_OUTLIERS && n < magnitudes.length; n++) {
    if (isGap(Math.max(0, magnitudes[n - 1]! - delta), magnitudes[n]! + delta)) rest = n;
  }
  const scale = rowScale(rowScaleByte(Math.min(MAX_F16, magnitudes[rest]! + delta)));
  return Math.max(scale, SMALLEST_ROW_SCALE);
}

/**
 * Rows as a frame of the given format carries them: f16 bits and exponents, which a peer computes with and so does anything that
 * is compared with it; and for int8 what such a frame sends for them. A row with a value that is not finite is rounded to f16,
 * with the ∞ or NaN for which encoders reject it.
 */
export function itemRows(format: RowFormat, values: Float32Array, hiddenSize: number): EncodedRows {
  if (format === 'f16') return halfRows(values, hiddenSize);
  const numRows = values.length / hiddenSize;
  const numBlocks = Math.ceil(hiddenSize / ROW_BLOCK);
  const rows = new Uint16Array(values.length);
  const exponents = new Uint8Array(numRows);
  const outliers: (RowOutliers | undefined)[] = Array.from({ length: numRows }, () => undefined);
  const int8: Int8Rows = { codes: new Int8Array(values.length), scales: new Uint8Array(numRows * numBlocks) };
  for (let r = 0; r < numRows; r++) {
    const [first, end] = [r * hiddenSize, (r + 1) * hiddenSize];
    const row = values.subarray(first, end);
    const exponent = f16Exponent(row);
    if (exponent === undefined) {
      encodeF16(row, rows.subarray(first, end));
      continue;
    }
    exponents[r] = exponent;
    const codes = int8.codes.subarray(first, end);
    const scales = int8.scales.subarray(r * numBlocks, (r + 1) * numBlocks);
    outliers[r] = encodeInt8Row(exponent === 0 ? row : row.map((value) => value * 2 ** -exponent), codes, scales);
    decodeInt8Row('rows', { codes, scales, outliers: outliers[r] }, rows.subarray(first, end));
  }
  if (outliers.some((row) => row !== undefined)) int8.outliers = outliers;
  return { rows, ...(exponents.some((exponent) => exponent > 0) && { exponents }), int8 };
}

/** Rounds one row within f16 to int8. Returns its outliers, if it has any. */
function encodeInt8Row(row: Float32Array, codes: Int8Array, scales: Uint8Array): RowOutliers | undefined {
  const at: number[] = [];
  for (const [block] of scales.entries()) {
    const first = block * ROW_BLOCK;
    const end = Math.min(first + ROW_BLOCK, row.length);
    const outliers = outliersOf(row, first, end);
    scales[block] = encodeBlock(row, first, end, codes, outliers);
    at.push(...outliers);
  }
  if (at.length === 0) return undefined;
  return { at: Uint16Array.from(at), halves: Uint16Array.from(at, (i) => f32ToF16(row[i]!)) };
}

/** One row as a frame has it. */
export interface Int8Row {
  codes: Int8Array;
  scales: Uint8Array;
  outliers?: RowOutliers | undefined;
}

/**
 * Writes the f16 bits that an int8 row stands for, [hiddenSize]. Throws a FrameError for what no encoder writes: a scale or value
 * beyond f16 (`not-finite`), the code −128 or one beside an outlier (`bad-code`), outliers out of order (`bad-order`).
 */
export function decodeInt8Row(name: string, { codes, scales, outliers }: Int8Row, row: Uint16Array): void {
  for (const [block, byte] of scales.entries()) {
    const first = block * ROW_BLOCK;
    const end = Math.min(first + ROW_BLOCK, row.length);
    if (byte >= FIRST_BAD_SCALE) throw new FrameError('not-finite', `${name}: scale ${block} is NaN, ∞ or negative.`);
    const scale = rowScale(byte);
    for (let i = first; i < end; i++) {
      const value = codes[i]! * scale;
      if (codes[i]! < -MAX_CODE) throw new FrameError('bad-code', `${name}: code ${i} is below −${MAX_CODE}.`);
      if (Math.abs(value) > MAX_F16)
        throw new FrameError('not-finite', `${name}: value ${i} is beyond the range of f16.`);
      row[i] = f32ToF16(value);
    }
  }
  if (outliers) placeOutliers(name, codes, outliers, row);
}

function placeOutliers(name: string, codes: Int8Array, { at, halves }: RowOutliers, row: Uint16Array): void {
  let before = -1;
  for (const [i, column] of at.entries()) {
    if (column <= before || column >= row.length)
      throw new FrameError('bad-order', `${name}: outlier ${i} is in column ${column}, after ${before}.`);
    if (codes[column] !== 0) throw new FrameError('bad-code', `${name}: code ${column} is not 0 beside its outlier.`);
    if (!Number.isFinite(f16ToF32(halves[i]!)))
      throw new FrameError('not-finite', `${name}: outlier ${i} is NaN or ∞.`);
    row[column] = halves[i]!;
    before = column;
  }
}

/** Rows after the rounding of `itemRows`, [numRows, hiddenSize]; those that are not finite as they are. */
export function roundedRows(format: RowFormat, values: Float32Array, hiddenSize: number): Float32Array {
  const rounded = readRows(itemRows(format, values, hiddenSize), hiddenSize);
  for (let first = 0; first < values.length; first += hiddenSize) {
    const row = values.subarray(first, first + hiddenSize);
    if (f16Exponent(row) === undefined) rounded.set(row, first);
  }
  return rounded;
}

/** Throws a FrameError (`bad-code`) for an exponent that no encoder writes. */
export function checkExponent(name: string, exponent: number): void {
  if (exponent > MAX_F16_EXPONENT)
    throw new FrameError('bad-code', `${name}: the exponent ${exponent} is above ${MAX_F16_EXPONENT}.`);
}

/** Rounds halves away from 0 (Math.round takes −114.5 to −114), since a scale is chosen by magnitude, whatever the sign. */
function codeOf(value: number, scale: number): number {
  if (scale === 0) return 0;
  const limit = Math.min(MAX_CODE, Math.floor(MAX_F16 / scale));
  return Math.sign(value) * Math.min(limit, Math.round(Math.abs(value) / scale));
}

import { encodeF16, f16ToF32, f32ToF16, type Int8Rows, type WorkItem } from '@shoal/model';
import { FrameError } from './error.ts';
import { BLOCK as ROW_BLOCK } from './layout.ts';

/** Encodings of rows in a frame: f16, or int8 with a scale for each block of 32 values (a row's last block may be shorter). */
export const ROW_FORMATS = ['f16', 'int8'] as const;
export type RowFormat = (typeof ROW_FORMATS)[number];

const MAX_CODE = 127;
const MAX_F16 = 65_504;
/** A scale's byte holds 5 bits of exponent and 3 of mantissa of a non-negative f16. From this value on it is not finite. */
const FIRST_BAD_SCALE = 0x7c00 >> 7;

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

/** Rounds rows to int8: codes [numRows, hiddenSize], scales [numRows, ⌈hiddenSize / 32⌉]. Throws a FrameError (`not-finite`). */
export function encodeInt8Rows(rows: Float32Array, hiddenSize: number, codes: Int8Array, scales: Uint8Array): void {
  let block = 0;
  for (let row = 0; row < rows.length; row += hiddenSize) {
    for (let first = row; first < row + hiddenSize; first += ROW_BLOCK) {
      const end = Math.min(first + ROW_BLOCK, row + hiddenSize);
      let max = 0;
      for (let i = first; i < end; i++) {
        const magnitude = Math.abs(rows[i]!);
        // Written so that NaN is rejected as well.
        if (!(magnitude <= MAX_F16)) throw new FrameError('not-finite', `rows[${i}] is beyond the range of f16.`);
        if (magnitude > max) max = magnitude;
      }
      const byte = rowScaleByte(max);
      const scale = rowScale(byte);
      scales[block++] = byte;
      for (let i = first; i < end; i++) codes[i] = codeOf(rows[i]!, scale);
    }
  }
}

/**
 * Returns the f16 bits that codes and scales stand for, [numRows, hiddenSize]. Throws a FrameError for what no encoder writes: a
 * scale or value beyond f16 (`not-finite`), or the code −128 (`bad-code`).
 */
export function decodeInt8Rows(name: string, codes: Int8Array, scales: Uint8Array, hiddenSize: number): Uint16Array {
  const rows = new Uint16Array(codes.length);
  let block = 0;
  for (let row = 0; row < codes.length; row += hiddenSize) {
    for (let first = row; first < row + hiddenSize; first += ROW_BLOCK) {
      const end = Math.min(first + ROW_BLOCK, row + hiddenSize);
      const byte = scales[block++]!;
      if (byte >= FIRST_BAD_SCALE)
        throw new FrameError('not-finite', `${name}: scale ${block - 1} is NaN, ∞ or negative.`);
      const scale = rowScale(byte);
      for (let i = first; i < end; i++) {
        const value = codes[i]! * scale;
        if (codes[i]! < -MAX_CODE) throw new FrameError('bad-code', `${name}: code ${i} is below −${MAX_CODE}.`);
        if (Math.abs(value) > MAX_F16)
          throw new FrameError('not-finite', `${name}: value ${i} is beyond the range of f16.`);
        rows[i] = f32ToF16(value);
      }
    }
  }
  return rows;
}

/**
 * Rounds rows as a frame of the given format does, to f16 bits: what a peer computes with, and so does anything that is compared
 * with it. A row that no frame can hold is rounded to f16, with the ∞ or NaN for which encoders reject it.
 */
export function roundRows(format: RowFormat, rows: Float32Array, hiddenSize: number): Uint16Array {
  return itemRows(format, rows, hiddenSize).rows;
}

/** The rows of a work item, rounded as `roundRows` does, with the codes and scales that an int8 frame sends for them. */
export function itemRows(
  format: RowFormat,
  rows: Float32Array,
  hiddenSize: number,
): Pick<WorkItem, 'rows'> & { int8?: Int8Rows } {
  if (format === 'f16') return { rows: encodeF16(rows) };
  const numRows = rows.length / hiddenSize;
  const numBlocks = Math.ceil(hiddenSize / ROW_BLOCK);
  const rounded = new Uint16Array(rows.length);
  const int8 = { codes: new Int8Array(rows.length), scales: new Uint8Array(numRows * numBlocks) };
  for (let row = 0; row < numRows; row++) {
    const [first, end] = [row * hiddenSize, (row + 1) * hiddenSize];
    const values = rows.subarray(first, end);
    const codes = int8.codes.subarray(first, end);
    const scales = int8.scales.subarray(row * numBlocks, (row + 1) * numBlocks);
    const fits = values.every((value) => Math.abs(value) <= MAX_F16);
    if (fits) encodeInt8Rows(values, hiddenSize, codes, scales);
    rounded.set(fits ? decodeInt8Rows('rows', codes, scales, hiddenSize) : encodeF16(values), first);
  }
  return { rows: rounded, int8 };
}

/** Rounds halves away from 0 (Math.round takes −114.5 to −114), since a scale is chosen by magnitude, whatever the sign. */
function codeOf(value: number, scale: number): number {
  if (scale === 0) return 0;
  const limit = Math.min(MAX_CODE, Math.floor(MAX_F16 / scale));
  return Math.sign(value) * Math.min(limit, Math.round(Math.abs(value) / scale));
}

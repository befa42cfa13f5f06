import { encodeF16, f16ToF32, f32ToF16, type Int8Rows, type WorkItem } from '@shoal/model';
import { FrameError } from './error.ts';
import { BLOCK as ROW_BLOCK } from './layout.ts';

/**
 * How rows of hidden values lie in a frame: as f16, or as int8 with a scale for each 32 of a row (its last block may be
 * shorter).
 */
export const ROW_FORMATS = ['f16', 'int8'] as const;
export type RowFormat = (typeof ROW_FORMATS)[number];

const MAX_CODE = 127;
const MAX_F16 = 65_504;
/** A scale's byte is the upper half of a non-negative f16: five bits of exponent, three of mantissa. From here on not finite. */
const FIRST_BAD_SCALE = 0x7c00 >> 7;

/** What a scale's byte stands for. */
export function rowScale(byte: number): number {
  return f16ToF32(byte << 7);
}

/** 2⁻¹⁷: a block whose largest magnitude is below half of it travels as zeros. */
export const SMALLEST_ROW_SCALE = rowScale(1);

/**
 * The byte of the scale for a block whose largest magnitude is `max` (at most 65,504). Scales have four significant bits, so
 * scale × code is an f16 without rounding, and a block that was rounded once is not changed by being rounded again.
 */
export function rowScaleByte(max: number): number {
  let byte = f32ToF16(max / MAX_CODE) >> 7;
  while (rowScale(byte) * MAX_CODE < max) byte++;
  if (byte === 0) return 0;
  // Rounding may take the largest to within reach of the finer scale, which it would then get the next time.
  const scale = rowScale(byte);
  return codeOf(max, scale) * scale <= MAX_CODE * rowScale(byte - 1) ? byte - 1 : byte;
}

/** As int8 frames round them: codes [numRows, hiddenSize], scales [numRows, ⌈hiddenSize / 32⌉]. Throws a FrameError (`not-finite`). */
export function encodeInt8Rows(rows: Float32Array, hiddenSize: number, codes: Int8Array, scales: Uint8Array): void {
  let block = 0;
  for (let row = 0; row < rows.length; row += hiddenSize) {
    for (let first = row; first < row + hiddenSize; first += ROW_BLOCK) {
      const end = Math.min(first + ROW_BLOCK, row + hiddenSize);
      let max = 0;
      for (let i = first; i < end; i++) {
        const magnitude = Math.abs(rows[i]!);
        // Written so that NaN is refused as well.
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
 * The f16 bits that codes and scales stand for, [numRows, hiddenSize]. Throws a FrameError for what no encoder writes: a scale or
 * a value beyond f16 (`not-finite`), the code −128 (`bad-code`).
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
 * Rows as a frame of that format carries them, in f16 bits: what a peer computes with, and what others must compute with to be
 * compared. A row that no frame can hold comes back as f16 rounds it, with the ∞ or NaN for which encoders refuse it.
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

/** Halves go away from 0 on either side (Math.round takes −114.5 to −114): a scale is chosen by magnitudes, whatever the sign. */
function codeOf(value: number, scale: number): number {
  if (scale === 0) return 0;
  const limit = Math.min(MAX_CODE, Math.floor(MAX_F16 / scale));
  return Math.sign(value) * Math.min(limit, Math.round(Math.abs(value) / scale));
}

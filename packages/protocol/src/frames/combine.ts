import { decodeF16, encodeF16 } from '@shoal/model';
import { MAX_HIDDEN_SIZE, MAX_ROWS_PER_LAP } from '../limits.ts';
import { FrameError } from './error.ts';
import { requireFiniteF16 } from './finite.ts';
import { frameLayout } from './layout.ts';
import { decodeInt8Rows, encodeInt8Rows, type RowFormat, rowFormatOf, rowFormats } from './row-format.ts';
import { frameTypes } from './types.ts';

const header = {
  layer: 'u16',
  numRows: 'u16',
  hiddenSize: 'u16',
  rowFormat: 'u16',
  queueUs: 'u32',
  computeUs: 'u32',
} as const;

/** Peer → coordinator: one row back for each row of the dispatch, whatever the number of experts. By the header's rowFormat. */
export const combineLayouts = {
  f16: frameLayout('combine', frameTypes.combine, {
    header,
    arrays: { partial: { element: 'f16', dims: ['numRows', 'hiddenSize'] } },
  }),
  int8: frameLayout('combine', frameTypes.combine, {
    header,
    arrays: {
      codes: { element: 'i8', dims: ['numRows', 'hiddenSize'] },
      scales: { element: 'u8', dims: ['numRows', 'hiddenSize/32'] },
    },
  }),
};

export interface CombineHeader {
  lapId: number;
  layer: number;
  numRows: number;
  hiddenSize: number;
  /** As the dispatch asked; f16 where it is left out. */
  rowFormat?: RowFormat;
  /** From the dispatch's arrival to its submission, in microseconds, as the peer tells it. */
  queueUs: number;
  /** From submission to result, in microseconds, as the peer tells it. */
  computeUs: number;
}

export interface CombineFrame extends CombineHeader {
  /** f16 bits, [numRows, hiddenSize]: Σ over the row's assignments of weight × expert(row). */
  partial: Uint16Array;
}

/** What the coordinator knows of the lap that it awaits an answer to. */
export interface CombineExpectation {
  layer: number;
  numRows: number;
  hiddenSize: number;
  /** f16 where it is left out. */
  rowFormat?: RowFormat;
}

/** Throws a FrameError for anything that `decodeCombine` would refuse; `not-finite` is a sum that f16 cannot hold. */
export function encodeCombine({ partial, ...fields }: CombineFrame): Uint8Array<ArrayBuffer> {
  if (fields.rowFormat === 'int8') return encodeSums(fields, decodeF16(partial));
  checkCounts(fields.numRows, fields.hiddenSize);
  const bytes = combineLayouts.f16.encode({ ...fields, rowFormat: rowFormats.f16, partial });
  requireFiniteF16('combine.partial', partial);
  return bytes;
}

/**
 * A combine of sums in f32, [numRows, hiddenSize], rounded straight into the frame, whose bytes `space` gives. Errors as of
 * `encodeCombine`.
 */
export function encodeSums(
  fields: CombineHeader,
  sums: Float32Array,
  space?: (bytes: number) => Uint8Array<ArrayBuffer>,
): Uint8Array<ArrayBuffer> {
  const { numRows, hiddenSize, rowFormat = 'f16' } = fields;
  checkCounts(numRows, hiddenSize);
  if (sums.length !== numRows * hiddenSize) {
    throw new FrameError('bad-count', `combine: ${sums.length} sums where its header makes ${numRows * hiddenSize}.`);
  }
  const numbers = { ...fields, rowFormat: rowFormats[rowFormat] };
  if (rowFormat === 'int8') {
    const { bytes, arrays } = combineLayouts.int8.begin(numbers, space);
    encodeInt8Rows(sums, hiddenSize, arrays.codes, arrays.scales);
    return bytes;
  }
  const { bytes, arrays } = combineLayouts.f16.begin(numbers, space);
  encodeF16(sums, arrays.partial);
  requireFiniteF16('combine.partial', arrays.partial);
  return bytes;
}

/** Throws a FrameError unless `bytes` is one whole combine of just that shape, layer and format, all of it finite. */
export function decodeCombine(bytes: Uint8Array, expect: CombineExpectation): CombineFrame {
  // The header is the same in all formats.
  const values = combineLayouts.f16.decodeHeader(bytes);
  checkCounts(values.numRows!, values.hiddenSize!);
  for (const name of ['layer', 'numRows', 'hiddenSize'] as const) {
    if (values[name] !== expect[name]) {
      throw new FrameError('mismatch', `combine.${name} is ${values[name]}, the lap's is ${expect[name]}.`);
    }
  }
  const rowFormat = rowFormatOf('combine', values.rowFormat!);
  const { rowFormat: expected = 'f16' } = expect;
  if (rowFormat !== expected) {
    throw new FrameError('mismatch', `combine.rowFormat is ${rowFormat}, the lap's is ${expected}.`);
  }
  if (rowFormat === 'int8') {
    const { codes, scales, ...fields } = combineLayouts.int8.decode(bytes, values);
    return { ...fields, rowFormat, partial: decodeInt8Rows('combine.partial', codes, scales, expect.hiddenSize) };
  }
  const frame = combineLayouts.f16.decode(bytes, values);
  requireFiniteF16('combine.partial', frame.partial);
  return { ...frame, rowFormat };
}

function checkCounts(numRows: number, hiddenSize: number): void {
  if (!(numRows >= 1 && numRows <= MAX_ROWS_PER_LAP)) {
    throw new FrameError('bad-count', `combine.numRows must be from 1 to ${MAX_ROWS_PER_LAP}, got ${numRows}.`);
  }
  if (!(hiddenSize >= 1 && hiddenSize <= MAX_HIDDEN_SIZE)) {
    throw new FrameError('bad-count', `combine.hiddenSize must be from 1 to ${MAX_HIDDEN_SIZE}, got ${hiddenSize}.`);
  }
}

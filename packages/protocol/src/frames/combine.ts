import { decodeF16, encodeF16 } from '@shoal/model';
import { MAX_HIDDEN_SIZE, MAX_ROWS_PER_LAP } from '../limits.ts';
import { durationCode, durationUs } from './duration.ts';
import { FrameError, requireCount } from './error.ts';
import { requireFiniteF16 } from './finite.ts';
import { frameLayout } from './layout.ts';
import { decodeInt8Rows, encodeInt8Rows, type RowFormat } from './row-format.ts';
import { formatBits } from './types.ts';

/** Times are encoded by `durationCode`. */
const header = { queue: 'u16', compute: 'u16' } as const;
const known = ['numRows', 'hiddenSize'] as const;

/** Peer → coordinator: one row for each row of the dispatch, whatever its number of experts. One layout for each row format. */
export const combineLayouts = {
  f16: frameLayout('combine', {
    header,
    known,
    formats: formatBits.int8Rows,
    arrays: { partial: { element: 'f16', dims: ['numRows', 'hiddenSize'] } },
  }),
  int8: frameLayout('combine', {
    header,
    known,
    formats: formatBits.int8Rows,
    arrays: {
      codes: { element: 'i8', dims: ['numRows', 'hiddenSize'] },
      scales: { element: 'u8', dims: ['numRows', 'hiddenSize/32'] },
    },
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
  /** f16 bits, [numRows, hiddenSize]: Σ over the row's assignments of weight × expert(row). */
  partial: Uint16Array;
}

/** What the coordinator knows about the lap whose answer it expects. */
export interface CombineExpectation {
  numRows: number;
  hiddenSize: number;
  /** f16 by default. */
  rowFormat?: RowFormat;
}

/** Throws a FrameError for anything that `decodeCombine` would reject; `not-finite` if a sum exceeds f16. */
export function encodeCombine({ partial, ...fields }: CombineFrame): Uint8Array<ArrayBuffer> {
  if (fields.rowFormat === 'int8') return encodeSums(fields, decodeF16(partial));
  const bytes = combineLayouts.f16.encode({ ...numbersOf(fields), partial });
  requireFiniteF16('combine.partial', partial);
  return bytes;
}

/** Rounds f32 sums, [numRows, hiddenSize], straight into a frame allocated by `space`. Throws as `encodeCombine` does. */
export function encodeSums(
  fields: CombineHeader,
  sums: Float32Array,
  space?: (bytes: number) => Uint8Array<ArrayBuffer>,
): Uint8Array<ArrayBuffer> {
  const numbers = numbersOf(fields);
  const { numRows, hiddenSize } = fields;
  if (sums.length !== numRows * hiddenSize) {
    throw new FrameError('bad-count', `combine: ${sums.length} sums, but its lap has ${numRows * hiddenSize}.`);
  }
  if (fields.rowFormat === 'int8') {
    const { bytes, arrays } = combineLayouts.int8.begin(numbers, space);
    encodeInt8Rows(sums, hiddenSize, arrays.codes, arrays.scales);
    return bytes;
  }
  const { bytes, arrays } = combineLayouts.f16.begin(numbers, space);
  encodeF16(sums, arrays.partial);
  requireFiniteF16('combine.partial', arrays.partial);
  return bytes;
}

/** Throws a FrameError unless `bytes` is one whole combine of the expected shape and format with only finite values. */
export function decodeCombine(bytes: Uint8Array, expect: CombineExpectation): CombineFrame {
  const { numRows, hiddenSize } = expect;
  // The header is the same in all formats.
  const values = combineLayouts.f16.decodeHeader(bytes);
  const rowFormat = (values.format! & formatBits.int8Rows) === 0 ? 'f16' : 'int8';
  const { rowFormat: expected = 'f16' } = expect;
  if (rowFormat !== expected) {
    throw new FrameError('mismatch', `combine: rows are ${rowFormat}, but the lap's are ${expected}.`);
  }
  const numbers = { ...values, numRows, hiddenSize };
  const { lapId, queue, compute } = values as Record<'lapId' | 'queue' | 'compute', number>;
  const times = { queueUs: durationUs(queue), computeUs: durationUs(compute) };
  const fields = { lapId, numRows, hiddenSize, rowFormat, ...times } as const;
  if (rowFormat === 'int8') {
    const { codes, scales } = combineLayouts.int8.decode(bytes, numbers);
    return { ...fields, partial: decodeInt8Rows('combine.partial', codes, scales, hiddenSize) };
  }
  const { partial } = combineLayouts.f16.decode(bytes, numbers);
  requireFiniteF16('combine.partial', partial);
  return { ...fields, partial };
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

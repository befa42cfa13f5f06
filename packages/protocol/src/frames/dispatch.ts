import { type ItemAdapters, readRows, type WorkItem } from '@shoal/model';
import { MAX_ASSIGNMENTS_PER_LAP, MAX_HIDDEN_SIZE, MAX_ROWS_PER_LAP } from '../limits.ts';
import { FrameError, requireCount } from './error.ts';
import { requireFiniteF16, requireFiniteF32 } from './finite.ts';
import {
  ADAPTED,
  type AdapterFields,
  adapterArrays,
  adapterFields,
  adapterHeader,
  checkAdapterCounts,
  readAdapters,
} from './lap-adapters.ts';
import { frameLayout } from './layout.ts';
import { checkExponent, itemRows, type RowFormat } from './row-format.ts';
import { layoutName, readFrameRows, rowArrays, rowFields, rowFormatOf } from './rows.ts';
import { formatBits } from './types.ts';

const header = { epoch: 'u16', layer: 'u16', numRows: 'u16', numAssignments: 'u16' } as const;
/** `expertBytes`: bytes of each expert's number, 1 or 2, little-endian. */
const known = ['hiddenSize', 'expertBytes'] as const;
const assignments = {
  weights: { element: 'f32', dims: ['numAssignments'] },
  rowEnd: { element: 'u16', dims: ['numRows'] },
  experts: { element: 'u8', dims: ['numAssignments', 'expertBytes'] },
} as const;

const formats = formatBits.int8Rows | formatBits.wideExperts | formatBits.largeRows;

/** Coordinator → peer: the rows of one lap, each with the peer's experts and the gate's weights. One layout for each row format. */
export const dispatchLayouts = {
  f16: frameLayout('dispatch', { header, known, formats, arrays: { ...rowArrays.f16, ...assignments } }),
  int8: frameLayout('dispatch', { header, known, formats, arrays: { ...rowArrays.int8, ...assignments } }),
  largeF16: frameLayout('dispatch', {
    header,
    known,
    formats,
    arrays: { ...rowArrays.f16, ...assignments, ...rowArrays.largeF16 },
  }),
  largeInt8: frameLayout('dispatch', {
    header: { ...header, numOutliers: 'u24' },
    known,
    formats,
    arrays: { ...rowArrays.int8, ...assignments, ...rowArrays.largeInt8 },
  }),
};

const adaptedHeader = { ...header, ...adapterHeader };

/** The same of laps with adapters. */
export const adaptedLayouts = {
  f16: frameLayout('dispatch', {
    header: adaptedHeader,
    known,
    formats,
    arrays: { ...rowArrays.f16, ...assignments, ...adapterArrays },
  }),
  int8: frameLayout('dispatch', {
    header: adaptedHeader,
    known,
    formats,
    arrays: { ...rowArrays.int8, ...assignments, ...adapterArrays },
  }),
  largeF16: frameLayout('dispatch', {
    header: adaptedHeader,
    known,
    formats,
    arrays: { ...rowArrays.f16, ...assignments, ...rowArrays.largeF16, ...adapterArrays },
  }),
  largeInt8: frameLayout('dispatch', {
    header: { ...header, numOutliers: 'u24', ...adapterHeader },
    known,
    formats,
    arrays: { ...rowArrays.int8, ...assignments, ...rowArrays.largeInt8, ...adapterArrays },
  }),
};

/** A work item with its lap id, epoch and row format, which a peer can run as it is. For int8, its rows are as `itemRows` makes them. */
export interface DispatchFrame extends WorkItem {
  /** Chosen by the coordinator; unique among its laps in flight. A re-dispatch gets a new one. */
  lapId: number;
  /**
   * The placement's epoch; a peer refuses a lap of an older one whose experts it no longer holds. The frame carries, and the
   * decoder returns, its lowest 16 bits (`isOlderEpoch`).
   */
  epoch: number;
  hiddenSize: number;
  /** Format of the rows, and of the answer's. */
  rowFormat: RowFormat;
  /** What `adapters` of the item are on the wire: the numbers that the coordinator has given to low-rank shards. */
  adapterNumbers?: ItemAdapters<number> | undefined;
}

/** A DispatchFrame whose format is f16 by default. */
export type DispatchFields = Omit<DispatchFrame, 'rowFormat'> & { rowFormat?: RowFormat };

/** Whether a frame's epoch is earlier than `current`, by at most 32,768. */
export function isOlderEpoch(fromFrame: number, current: number): boolean {
  return ((fromFrame - current) & EPOCH_MASK) > EPOCH_MASK >> 1;
}

const EPOCH_MASK = 0xffff;
/** Where a header has its number of assignments, whose highest bit says whether there are adapters. */
const NUM_ASSIGNMENTS_AT = 10;
const MAX_NARROW_EXPERT = 0xff;

/** Throws a FrameError for anything that `decodeDispatch` would reject. */
export function encodeDispatch(frame: DispatchFields): Uint8Array<ArrayBuffer> {
  const { hiddenSize, rows, exponents, rowFormat = 'f16' } = frame;
  const numAssignments = frame.experts.length;
  checkCounts(frame.numRows, numAssignments);
  requireCount('dispatch.hiddenSize', hiddenSize, MAX_HIDDEN_SIZE);
  const expertBytes = frame.experts.some((expert) => expert > MAX_NARROW_EXPERT) ? 2 : 1;
  const { buffer, byteOffset, byteLength } = frame.experts;
  const experts = expertBytes === 1 ? new Uint8Array(frame.experts) : new Uint8Array(buffer, byteOffset, byteLength);
  requireLength('rows', rows, frame.numRows * hiddenSize);
  if (exponents) requireLength('exponents', exponents, frame.numRows);
  requireFiniteF16('dispatch.rows', rows);
  for (const exponent of exponents ?? []) checkExponent('dispatch.exponents', exponent);
  checkContents(frame);
  const encoded = rowFormat === 'f16' || frame.int8 ? frame : itemRows('int8', readRows(frame, hiddenSize), hiddenSize);
  const { format, isLarge, numOutliers, arrays } = rowFields(rowFormat, encoded);
  const fields = {
    ...frame,
    ...arrays,
    epoch: frame.epoch & EPOCH_MASK,
    numAssignments,
    numOutliers,
    expertBytes,
    experts,
    format: format | (expertBytes === 2 ? formatBits.wideExperts : 0),
  };
  const name = layoutName(rowFormat, isLarge);
  const { adapters, adapterNumbers } = frame;
  if (adapters && !adapterNumbers) throw new FrameError('bad-count', 'dispatch: its adapters have no numbers.');
  if (!adapterNumbers) return dispatchLayouts[name].encode(fields);
  requireLength('adapterEnds', adapterNumbers.ends, numAssignments);
  const bytes = adaptedLayouts[name].encode({ ...fields, ...adapterFields(adapterNumbers) });
  new DataView(bytes.buffer).setUint16(NUM_ASSIGNMENTS_AT, numAssignments | ADAPTED, true);
  return bytes;
}

/**
 * Throws a FrameError unless `bytes` is one whole dispatch for the model's hidden size: counts within the limits and the length,
 * rowEnd ascending to the number of assignments, rows and weights finite. Arrays are views if aligned, except int8 rows and
 * one-byte experts.
 */
export function decodeDispatch(bytes: Uint8Array, { hiddenSize }: { hiddenSize: number }): DispatchFrame {
  // All headers begin alike.
  const {
    numRows,
    numAssignments: counted,
    format,
  } = dispatchLayouts.f16.decodeHeader(bytes) as Record<string, number>;
  const isAdapted = (counted! & ADAPTED) !== 0;
  const numAssignments = counted! & ~ADAPTED;
  checkCounts(numRows!, numAssignments);
  const expertBytes = (format! & formatBits.wideExperts) !== 0 ? 2 : 1;
  const rowFormat = rowFormatOf(format!);
  const name = layoutName(rowFormat, (format! & formatBits.largeRows) !== 0);
  const fields = decodeFields(bytes, name, isAdapted, { numAssignments, hiddenSize, expertBytes });
  const { lapId, epoch, layer, weights, rowEnd } = fields;
  checkContents({ rowEnd, weights });
  const rows = readFrameRows('dispatch.rows', fields, hiddenSize);
  for (const exponent of rows.exponents ?? []) checkExponent('dispatch.exponents', exponent);
  requireFiniteF16('dispatch.rows', rows.rows);
  const experts = expertsOf(fields.experts, expertBytes);
  const frame = { lapId, epoch, layer, numRows: numRows!, hiddenSize, rowFormat, ...rows, weights, rowEnd, experts };
  return 'adapterOf' in fields ? { ...frame, adapterNumbers: readAdapters(fields as unknown as AdapterFields) } : frame;
}

function decodeFields(
  bytes: Uint8Array,
  name: keyof typeof dispatchLayouts,
  isAdapted: boolean,
  known: Readonly<Record<string, number>>,
) {
  if (!isAdapted)
    return dispatchLayouts[name].decode(bytes, { ...dispatchLayouts[name].decodeHeader(bytes), ...known });
  const numbers = adaptedLayouts[name].decodeHeader(bytes);
  checkAdapterCounts(numbers);
  return adaptedLayouts[name].decode(bytes, { ...numbers, ...known });
}

function checkCounts(numRows: number, numAssignments: number): void {
  requireCount('dispatch.numRows', numRows, MAX_ROWS_PER_LAP);
  requireCount('dispatch.numAssignments', numAssignments, MAX_ASSIGNMENTS_PER_LAP);
}

function requireLength(name: string, { length }: { length: number }, expected: number): void {
  if (length !== expected) {
    throw new FrameError('bad-count', `dispatch.${name} must have ${expected} elements, got ${length}.`);
  }
}

/** Experts follow rowEnd, so two-byte ones are aligned. */
function expertsOf(bytes: Uint8Array, expertBytes: number): Uint16Array {
  return expertBytes === 1 ? new Uint16Array(bytes) : new Uint16Array(bytes.buffer, bytes.byteOffset, bytes.length / 2);
}

function checkContents({ rowEnd, weights }: Pick<DispatchFrame, 'rowEnd' | 'weights'>): void {
  let end = 0;
  for (let row = 0; row < rowEnd.length; row++) {
    const next = rowEnd[row]!;
    if (next < end) throw new FrameError('bad-order', `dispatch.rowEnd descends at row ${row}: ${end}, then ${next}.`);
    end = next;
  }
  if (end !== weights.length) {
    throw new FrameError('bad-order', `dispatch.rowEnd ends at ${end}, but there are ${weights.length} assignments.`);
  }
  requireFiniteF32('dispatch.weights', weights);
}

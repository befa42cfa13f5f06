import { decodeF16, type WorkItem } from '@shoal/model';
import { MAX_ASSIGNMENTS_PER_LAP, MAX_HIDDEN_SIZE, MAX_ROWS_PER_LAP } from '../limits.ts';
import { FrameError, requireCount } from './error.ts';
import { requireFiniteF16, requireFiniteF32 } from './finite.ts';
import { frameLayout } from './layout.ts';
import { decodeInt8Rows, itemRows, type RowFormat } from './row-format.ts';
import { formatBits } from './types.ts';

const header = { epoch: 'u16', layer: 'u16', numRows: 'u16', numAssignments: 'u16' } as const;
/** `expertBytes`: bytes of each expert's number, 1 or 2, little-endian. */
const known = ['hiddenSize', 'expertBytes'] as const;
const assignments = {
  weights: { element: 'f32', dims: ['numAssignments'] },
  rowEnd: { element: 'u16', dims: ['numRows'] },
  experts: { element: 'u8', dims: ['numAssignments', 'expertBytes'] },
} as const;

/** Coordinator → peer: the rows of one lap, each with the peer's experts and the gate's weights. One layout for each row format. */
export const dispatchLayouts = {
  f16: frameLayout('dispatch', {
    header,
    known,
    formats: formatBits.int8Rows | formatBits.wideExperts,
    arrays: { rows: { element: 'f16', dims: ['numRows', 'hiddenSize'] }, ...assignments },
  }),
  int8: frameLayout('dispatch', {
    header,
    known,
    formats: formatBits.int8Rows | formatBits.wideExperts,
    arrays: {
      codes: { element: 'i8', dims: ['numRows', 'hiddenSize'] },
      scales: { element: 'u8', dims: ['numRows', 'hiddenSize/32'] },
      ...assignments,
    },
  }),
};

/** A work item with its lap id, epoch and row format, which a peer can run as it is. For int8, its rows are as `roundRows` makes them. */
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
}

/** A DispatchFrame whose format is f16 by default. */
export type DispatchFields = Omit<DispatchFrame, 'rowFormat'> & { rowFormat?: RowFormat };

/** Whether a frame's epoch is earlier than `current`, by at most 32,768. */
export function isOlderEpoch(fromFrame: number, current: number): boolean {
  return ((fromFrame - current) & EPOCH_MASK) > EPOCH_MASK >> 1;
}

const EPOCH_MASK = 0xffff;
const MAX_NARROW_EXPERT = 0xff;

/** Throws a FrameError for anything that `decodeDispatch` would reject. */
export function encodeDispatch(frame: DispatchFields): Uint8Array<ArrayBuffer> {
  const { hiddenSize, rows, rowFormat = 'f16' } = frame;
  const numAssignments = frame.experts.length;
  checkCounts(frame.numRows, numAssignments);
  requireCount('dispatch.hiddenSize', hiddenSize, MAX_HIDDEN_SIZE);
  const expertBytes = frame.experts.some((expert) => expert > MAX_NARROW_EXPERT) ? 2 : 1;
  const { buffer, byteOffset, byteLength } = frame.experts;
  const experts = expertBytes === 1 ? new Uint8Array(frame.experts) : new Uint8Array(buffer, byteOffset, byteLength);
  const epoch = frame.epoch & EPOCH_MASK;
  const format = (rowFormat === 'int8' ? formatBits.int8Rows : 0) | (expertBytes === 2 ? formatBits.wideExperts : 0);
  const fields = { ...frame, epoch, numAssignments, expertBytes, experts, format };
  requireLength('rows', rows, frame.numRows * hiddenSize);
  requireFiniteF16('dispatch.rows', rows);
  checkContents(frame);
  if (rowFormat === 'f16') return dispatchLayouts.f16.encode(fields);
  const { codes, scales } = frame.int8 ?? itemRows('int8', decodeF16(rows), hiddenSize).int8!;
  return dispatchLayouts.int8.encode({ ...fields, codes, scales });
}

/**
 * Throws a FrameError unless `bytes` is one whole dispatch for the model's hidden size: counts within the limits and the length,
 * rowEnd ascending to the number of assignments, rows and weights finite. Arrays are views if aligned, except int8 rows and
 * one-byte experts.
 */
export function decodeDispatch(bytes: Uint8Array, { hiddenSize }: { hiddenSize: number }): DispatchFrame {
  // The header is the same in all formats.
  const values = dispatchLayouts.f16.decodeHeader(bytes);
  checkCounts(values.numRows!, values.numAssignments!);
  const expertBytes = (values.format! & formatBits.wideExperts) !== 0 ? 2 : 1;
  const numbers = { ...values, hiddenSize, expertBytes };
  if ((values.format! & formatBits.int8Rows) === 0) {
    const { numAssignments: _, expertBytes: __, ...fields } = dispatchLayouts.f16.decode(bytes, numbers);
    const frame = { ...fields, rowFormat: 'f16' as const, experts: expertsOf(fields.experts, expertBytes) };
    checkContents(frame);
    requireFiniteF16('dispatch.rows', frame.rows);
    return frame;
  }
  const { numAssignments: _, expertBytes: __, codes, scales, ...fields } = dispatchLayouts.int8.decode(bytes, numbers);
  checkContents(fields);
  const rows = decodeInt8Rows('dispatch.rows', codes, scales, hiddenSize);
  return { ...fields, rowFormat: 'int8', rows, experts: expertsOf(fields.experts, expertBytes) };
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

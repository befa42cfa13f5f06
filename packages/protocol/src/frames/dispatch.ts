import { decodeF16 } from '@shoal/model';
import { MAX_ASSIGNMENTS_PER_LAP, MAX_HIDDEN_SIZE, MAX_ROWS_PER_LAP } from '../limits.ts';
import { FrameError } from './error.ts';
import { frameLayout } from './layout.ts';
import { requireFiniteF16, requireFiniteF32 } from './finite.ts';
import { decodeInt8Rows, encodeInt8Rows, type RowFormat, rowFormatOf, rowFormats } from './row-format.ts';
import { frameTypes } from './types.ts';

const header = {
  epoch: 'u32',
  layer: 'u16',
  numRows: 'u16',
  numAssignments: 'u32',
  hiddenSize: 'u16',
  rowFormat: 'u16',
} as const;
const assignments = {
  weights: { element: 'f32', dims: ['numAssignments'] },
  rowEnd: { element: 'u16', dims: ['numRows'] },
  experts: { element: 'u16', dims: ['numAssignments'] },
} as const;

/** Coordinator → peer: the rows of one lap with, for each, the peer's experts and the gate's weights. By the header's rowFormat. */
export const dispatchLayouts = {
  f16: frameLayout('dispatch', frameTypes.dispatch, {
    header,
    arrays: { rows: { element: 'f16', dims: ['numRows', 'hiddenSize'] }, ...assignments },
  }),
  int8: frameLayout('dispatch', frameTypes.dispatch, {
    header,
    arrays: {
      codes: { element: 'i8', dims: ['numRows', 'hiddenSize'] },
      scales: { element: 'u8', dims: ['numRows', 'hiddenSize/32'] },
      ...assignments,
    },
  }),
};

/** A dispatch is an `ExpertLap` of `@shoal/kernels` with its lap id and epoch: a peer can run it as it is. */
export interface DispatchFrame {
  /** Chosen by the coordinator, unique among its laps in flight; a re-dispatch gets a new one. */
  lapId: number;
  /** Placement that the coordinator had in mind; a peer refuses a lap of an older one if its experts have gone. */
  epoch: number;
  layer: number;
  numRows: number;
  hiddenSize: number;
  /** How the rows travel, and how the answer is to. */
  rowFormat: RowFormat;
  /** f16 bits, [numRows, hiddenSize]. In int8 those that codes and scales stand for (`roundRows`). */
  rows: Uint16Array;
  /** [numRows], ascending; the assignments of row r are rowEnd[r-1] (0 for the first) up to rowEnd[r]. */
  rowEnd: Uint16Array;
  /** [numAssignments], the gate's weights. */
  weights: Float32Array;
  /** [numAssignments], expert index within the layer. */
  experts: Uint16Array;
}

/** As DispatchFrame; f16 where the format is left out. */
export type DispatchFields = Omit<DispatchFrame, 'rowFormat'> & { rowFormat?: RowFormat };

/** Throws a FrameError for anything that `decodeDispatch` would refuse. */
export function encodeDispatch(frame: DispatchFields): Uint8Array<ArrayBuffer> {
  const { hiddenSize, rows, rowFormat = 'f16' } = frame;
  const numAssignments = frame.experts.length;
  checkCounts(frame.numRows, numAssignments, hiddenSize);
  const fields = { ...frame, numAssignments, rowFormat: rowFormats[rowFormat] };
  if (rowFormat === 'f16') {
    const bytes = dispatchLayouts.f16.encode(fields);
    checkContents(frame);
    requireFiniteF16('dispatch.rows', rows);
    return bytes;
  }
  if (rows.length !== frame.numRows * hiddenSize) {
    throw new FrameError(
      'bad-count',
      `dispatch.rows must have ${frame.numRows * hiddenSize} elements, got ${rows.length}.`,
    );
  }
  const { bytes, arrays } = dispatchLayouts.int8.begin(fields);
  encodeInt8Rows(decodeF16(rows), hiddenSize, arrays.codes, arrays.scales);
  for (const name of ['weights', 'rowEnd', 'experts'] as const) {
    if (frame[name].length !== arrays[name].length) {
      throw new FrameError(
        'bad-count',
        `dispatch.${name} must have ${arrays[name].length} elements, got ${frame[name].length}.`,
      );
    }
    arrays[name].set(frame[name]);
  }
  checkContents(frame);
  return bytes;
}

/**
 * Throws a FrameError unless `bytes` is one whole dispatch for a model of that hidden size: counts within the limits and
 * the length, rowEnd ascending to the number of assignments, rows and weights finite. Arrays are views where aligned, except
 * rows that came as int8.
 */
export function decodeDispatch(bytes: Uint8Array, expect: { hiddenSize: number }): DispatchFrame {
  // The header is the same in all formats.
  const values = dispatchLayouts.f16.decodeHeader(bytes);
  checkCounts(values.numRows!, values.numAssignments!, values.hiddenSize!);
  if (values.hiddenSize !== expect.hiddenSize) {
    throw new FrameError(
      'mismatch',
      `dispatch: rows of ${values.hiddenSize} where the model has a hidden size of ${expect.hiddenSize}.`,
    );
  }
  const rowFormat = rowFormatOf('dispatch', values.rowFormat!);
  if (rowFormat === 'f16') {
    const { numAssignments: _, ...fields } = dispatchLayouts.f16.decode(bytes, values);
    const frame = { ...fields, rowFormat };
    checkContents(frame);
    requireFiniteF16('dispatch.rows', frame.rows);
    return frame;
  }
  const { numAssignments: _, codes, scales, ...fields } = dispatchLayouts.int8.decode(bytes, values);
  const frame = { ...fields, rowFormat };
  checkContents(frame);
  return { ...frame, rows: decodeInt8Rows('dispatch.rows', codes, scales, expect.hiddenSize) };
}

function checkCounts(numRows: number, numAssignments: number, hiddenSize: number): void {
  requireCount('numRows', numRows, MAX_ROWS_PER_LAP);
  requireCount('numAssignments', numAssignments, MAX_ASSIGNMENTS_PER_LAP);
  requireCount('hiddenSize', hiddenSize, MAX_HIDDEN_SIZE);
}

function requireCount(name: string, count: number, max: number): void {
  if (!(count >= 1 && count <= max)) {
    throw new FrameError('bad-count', `dispatch.${name} must be from 1 to ${max}, got ${count}.`);
  }
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

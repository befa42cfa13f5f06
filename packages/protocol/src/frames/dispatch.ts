import { MAX_ASSIGNMENTS_PER_LAP, MAX_HIDDEN_SIZE, MAX_ROWS_PER_LAP } from '../limits.ts';
import { FrameError } from './error.ts';
import { frameLayout } from './layout.ts';
import { requireFiniteF16, requireFiniteF32 } from './finite.ts';
import { frameTypes } from './types.ts';

/** Coordinator → peer: the rows of one lap with, for each, the peer's experts and the gate's weights. */
export const dispatchLayout = frameLayout('dispatch', frameTypes.dispatch, {
  header: {
    epoch: 'u32',
    layer: 'u16',
    numRows: 'u16',
    numAssignments: 'u32',
    hiddenSize: 'u16',
    reserved: 'u16',
  },
  arrays: {
    rows: { element: 'f16', dims: ['numRows', 'hiddenSize'] },
    weights: { element: 'f32', dims: ['numAssignments'] },
    rowEnd: { element: 'u16', dims: ['numRows'] },
    experts: { element: 'u16', dims: ['numAssignments'] },
  },
});

/** A dispatch is an `ExpertLap` of `@shoal/kernels` with its lap id and epoch: a peer can run it as it is. */
export interface DispatchFrame {
  /** Chosen by the coordinator, unique among its laps in flight; a re-dispatch gets a new one. */
  lapId: number;
  /** Placement that the coordinator had in mind; a peer refuses a lap of an older one if its experts have gone. */
  epoch: number;
  layer: number;
  numRows: number;
  hiddenSize: number;
  /** f16 bits, [numRows, hiddenSize] */
  rows: Uint16Array;
  /** [numRows], ascending; the assignments of row r are rowEnd[r-1] (0 for the first) up to rowEnd[r]. */
  rowEnd: Uint16Array;
  /** [numAssignments], the gate's weights. */
  weights: Float32Array;
  /** [numAssignments], expert index within the layer. */
  experts: Uint16Array;
}

/** Throws a FrameError for anything that `decodeDispatch` would refuse. */
export function encodeDispatch(frame: DispatchFrame): Uint8Array<ArrayBuffer> {
  const numAssignments = frame.experts.length;
  checkCounts(frame.numRows, numAssignments, frame.hiddenSize);
  const bytes = dispatchLayout.encode({ ...frame, numAssignments });
  checkContents(frame);
  return bytes;
}

/**
 * Throws a FrameError unless `bytes` is one whole dispatch for a model of that hidden size: counts within the limits and
 * the length, rowEnd ascending to the number of assignments, rows and weights finite. Arrays are views where aligned.
 */
export function decodeDispatch(bytes: Uint8Array, expect: { hiddenSize: number }): DispatchFrame {
  const header = dispatchLayout.decodeHeader(bytes);
  checkCounts(header.numRows!, header.numAssignments!, header.hiddenSize!);
  if (header.hiddenSize !== expect.hiddenSize) {
    throw new FrameError(
      'mismatch',
      `dispatch: rows of ${header.hiddenSize} where the model has a hidden size of ${expect.hiddenSize}.`,
    );
  }
  const { numAssignments: _, ...frame } = dispatchLayout.decode(bytes);
  checkContents(frame);
  return frame;
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

function checkContents({ rows, rowEnd, weights }: DispatchFrame): void {
  let end = 0;
  for (const [row, next] of rowEnd.entries()) {
    if (next < end) throw new FrameError('bad-order', `dispatch.rowEnd descends at row ${row}: ${end}, then ${next}.`);
    end = next;
  }
  if (end !== weights.length) {
    throw new FrameError('bad-order', `dispatch.rowEnd ends at ${end}, but there are ${weights.length} assignments.`);
  }
  requireFiniteF32('dispatch.weights', weights);
  requireFiniteF16('dispatch.rows', rows);
}

import { MAX_HIDDEN_SIZE, MAX_ROWS_PER_LAP } from '../limits.ts';
import { FrameError } from './error.ts';
import { requireFiniteF16 } from './finite.ts';
import { frameLayout } from './layout.ts';
import { frameTypes } from './types.ts';

/** Peer → coordinator: one row back for each row of the dispatch, whatever the number of experts. */
export const combineLayout = frameLayout('combine', frameTypes.combine, {
  header: {
    layer: 'u16',
    numRows: 'u16',
    hiddenSize: 'u16',
    reserved: 'u16',
    queueUs: 'u32',
    computeUs: 'u32',
  },
  arrays: { partial: { element: 'f16', dims: ['numRows', 'hiddenSize'] } },
});

export interface CombineFrame {
  lapId: number;
  layer: number;
  numRows: number;
  hiddenSize: number;
  /** From the dispatch's arrival to its submission, in microseconds, as the peer tells it. */
  queueUs: number;
  /** From submission to result, in microseconds, as the peer tells it. */
  computeUs: number;
  /** f16 bits, [numRows, hiddenSize]: Σ over the row's assignments of weight × expert(row). */
  partial: Uint16Array;
}

/** What the coordinator knows of the lap that it awaits an answer to. */
export interface CombineExpectation {
  layer: number;
  numRows: number;
  hiddenSize: number;
}

/** Throws a FrameError for anything that `decodeCombine` would refuse; `not-finite` is a sum that f16 cannot hold. */
export function encodeCombine(frame: CombineFrame): Uint8Array<ArrayBuffer> {
  checkCounts(frame.numRows, frame.hiddenSize);
  const bytes = combineLayout.encode(frame);
  requireFiniteF16('combine.partial', frame.partial);
  return bytes;
}

/** Throws a FrameError unless `bytes` is one whole combine of just that shape and layer, all of it finite. */
export function decodeCombine(bytes: Uint8Array, expect: CombineExpectation): CombineFrame {
  const header = combineLayout.decodeHeader(bytes);
  checkCounts(header.numRows!, header.hiddenSize!);
  for (const name of ['layer', 'numRows', 'hiddenSize'] as const) {
    if (header[name] !== expect[name]) {
      throw new FrameError('mismatch', `combine.${name} is ${header[name]}, the lap's is ${expect[name]}.`);
    }
  }
  const frame = combineLayout.decode(bytes);
  requireFiniteF16('combine.partial', frame.partial);
  return frame;
}

function checkCounts(numRows: number, hiddenSize: number): void {
  if (!(numRows >= 1 && numRows <= MAX_ROWS_PER_LAP)) {
    throw new FrameError('bad-count', `combine.numRows must be from 1 to ${MAX_ROWS_PER_LAP}, got ${numRows}.`);
  }
  if (!(hiddenSize >= 1 && hiddenSize <= MAX_HIDDEN_SIZE)) {
    throw new FrameError('bad-count', `combine.hiddenSize must be from 1 to ${MAX_HIDDEN_SIZE}, got ${hiddenSize}.`);
  }
}

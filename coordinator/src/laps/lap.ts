import type { LapRefusal } from '@shoal/protocol';
import type { LapTiming } from '../base/sample-window.ts';

/** What a lap asks of one peer. Fields as in the dispatch frame. */
export interface WorkItem {
  layer: number;
  /** f16 bits, [numRows, hiddenSize] */
  rows: Uint16Array;
  numRows: number;
  rowEnd: Uint16Array;
  experts: Uint16Array;
  weights: Float32Array;
}

export interface LapAnswer {
  /** f16 bits, [numRows, hiddenSize], finite */
  partial: Uint16Array;
  timing: LapTiming;
}

export type LapErrorReason = 'deadline' | 'refused' | 'closed' | 'busy' | 'cancelled' | 'wrong';

/** A lap that this peer did not answer; someone else has to. */
export class LapError extends Error {
  readonly reason: LapErrorReason;
  /** With `refused`: why, in the peer's words. */
  readonly refusal: LapRefusal | undefined;
  constructor(reason: LapErrorReason, message: string, refusal?: LapRefusal) {
    super(message);
    this.name = 'LapError';
    this.reason = reason;
    this.refusal = refusal;
  }
}

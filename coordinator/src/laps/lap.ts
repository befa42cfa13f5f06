import type { LapRefusal } from '@shoal/protocol';
import type { LapTiming } from '../base/sample-window.ts';

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

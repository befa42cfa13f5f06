import type { LapRefusal } from '@shoal/protocol';

/** One peer's lap, taken apart. Queue and compute are the peer's word, believed only within the lap. */
export interface LapTiming {
  /** From hand-over to the link until the answer was decoded, in milliseconds. */
  lapMs: number;
  /** Waiting in the tab for earlier laps. */
  queueMs: number;
  /** In the tab's backend. */
  computeMs: number;
}

export interface LapAnswer {
  /** [numRows, hiddenSize]: finite, or all NaN for a row that the peer says has no finite sum. */
  partial: Float32Array;
  timing: LapTiming;
  sentMs: number;
}

/** The rows of an answer that have no finite sum, as the peer says. */
export function rowsWithoutSum(partial: Float32Array, hiddenSize: number): number[] {
  const rows: number[] = [];
  for (let first = 0; first < partial.length; first += hiddenSize)
    if (Number.isNaN(partial[first])) rows.push(first / hiddenSize);
  return rows;
}

export type LapErrorReason = 'deadline' | 'refused' | 'closed' | 'busy' | 'cancelled' | 'wrong';

/** A lap that this peer did not answer. A replica or the coordinator has to. */
export class LapError extends Error {
  override readonly name = 'LapError';
  readonly reason: LapErrorReason;
  /** With `refused`: the peer's reason. */
  readonly refusal: LapRefusal | undefined;
  constructor(reason: LapErrorReason, message: string, refusal?: LapRefusal) {
    super(message);
    this.reason = reason;
    this.refusal = refusal;
  }
}

/** A lap failed, and went elsewhere. */
export interface RedispatchEvent {
  peerId: string;
  layer: number;
  rows: number;
  error: LapError;
  /** The peers that did the work in the end; null is the coordinator. */
  to: (string | null)[];
  tookMs: number;
}

/** The peers that served one row in one MoE layer. Its fields are part of the HTTP API. */
export interface LapTrace {
  layer: number;
  lapMs: number;
  /** true: a local layer, which makes no lap. */
  resident?: boolean;
  /** `peerId` is null if the coordinator computed the expert. */
  experts: { expert: number; weight: number; peerId: string | null }[];
}

import type { Assignments, Slots } from './gates/gate-kind.ts';

/** Callbacks that report a pass's progress. Arrays belong to the pass: read them at once and do not change them. */
export interface ForwardObserver {
  /** topkIdx and topkWeights as in a `MoeCall`, before they are dispatched, and what they were chosen by. */
  gate?(layer: number, topkIdx: Int32Array, topkWeights: Float32Array, seen: GateSeen): void;
  /**
   * The pass has nothing left to do but await this layer's lap, or after the last layer the masks of tokens. Not called if they
   * are there by then.
   */
  waits?(layer: number): void;
  /** All layers are done, and only the masks of tokens are awaited. Comes before `waits`, and only where that comes. */
  awaitsMasks?(): void;
  /** What the pass awaited is there or has failed, and the pass continues or ends. */
  resumes?(layer: number): void;
  /** Some operations have ended, in an engine that does not compute on the calling thread. */
  segment?(segment: ForwardSegment): void;
}

/** What a gate has chosen by: logits [numRows, gateWidth], and the bias that is added to scores, if there is one. */
export interface GateSeen {
  logits: Float32Array;
  bias: Float32Array | null;
  /**
   * Of a gate that looks at whole sequences: its choice for each. If these are slots, topkIdx is of all slots in the place of rows.
   * Undefined where logits are not finite.
   */
  choices?: readonly (Assignments | Slots | undefined)[];
}

/** Operations that an engine's threads have run together. Times are on the clock of `performance.now()`, in milliseconds. */
export interface ForwardSegment {
  /** The operation that they end with. */
  kind: 'gate' | 'shared-expert' | 'dense' | 'head' | 'move';
  /** The last layer that they belong to; numHiddenLayers is the MTP module's. */
  layer: number;
  numRows: number;
  /** When they were ready to run; from then to `startedMs` the threads ran another pass's operations. */
  queuedMs: number;
  startedMs: number;
  endedMs: number;
}

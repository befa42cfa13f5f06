import type { ForwardSegment } from '@shoal/model';

/** Which pass of which microBatch something belongs to. */
export interface PassName {
  /** Counted from 1. */
  microBatch: number;
  /** Counted from 1 since start. */
  pass: number;
}

export interface PassEvent extends PassName {
  rows: number;
  sequences: number;
  startedMs: number;
  endedMs: number;
}

/** A pass had nothing to do but wait for the lap of a layer. */
export interface WaitEvent extends PassName {
  layer: number;
  startedMs: number;
  endedMs: number;
}

/** One peer's part of a lap, answered or given up. */
export interface LapEvent {
  lapId: number;
  layer: number;
  rows: number;
  sentBytes: number;
  /** 0 where there was no answer. */
  receivedBytes: number;
  startedMs: number;
  endedMs: number;
  /** The tab's word, believed within the lap only; the rest of the lap is the wire's. */
  queueMs: number;
  computeMs: number;
  /** Why there was no answer. */
  failure?: string;
}

/** Experts that the coordinator computed itself. */
export interface LocalExpertsEvent {
  layer: number;
  rows: number;
  startedMs: number;
  endedMs: number;
}

/**
 * Told of what each resource did, when it has ended. Times on the clock of `performance.now()`, in milliseconds. Nobody calls
 * it unless it is there: without a trace nothing is computed for one.
 */
export interface Timeline {
  pass(event: PassEvent): void;
  wait(event: WaitEvent): void;
  segment(segment: ForwardSegment, by: PassName): void;
  lap(event: LapEvent, peerId: string, by: PassName | undefined): void;
  localExperts(event: LocalExpertsEvent, by: PassName | undefined): void;
}

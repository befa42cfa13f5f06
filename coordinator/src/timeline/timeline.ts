import type { ForwardSegment } from '@shoal/model';

/** A pass, as things that belong to it name it. */
export interface PassName {
  /** Counted from 1. */
  microBatch: number;
  /** Counted from 1 since start. */
  pass: number;
}

interface Span {
  startedMs: number;
  endedMs: number;
}

export interface PassEvent extends PassName, Span {
  rows: number;
  sequences: number;
}

/** A pass waited for the lap of a layer. */
export interface WaitEvent extends PassName, Span {
  layer: number;
}

/** One peer's part of a lap, answered or given up. */
export interface LapEvent extends Span {
  lapId: number;
  layer: number;
  rows: number;
  sentBytes: number;
  /** 0 where there was no answer. */
  receivedBytes: number;
  /** The peer's word, believed only within the lap; the rest of the lap is the wire's. */
  queueMs: number;
  computeMs: number;
  /** Why there was no answer. */
  failure?: string;
}

/** A work item that the local experts computed. */
export interface LocalExpertsEvent extends Span {
  layer: number;
  rows: number;
}

/**
 * Receives what each resource did, when it has ended. Times are milliseconds of `performance.now()`. Without a trace there is
 * no timeline, and nothing is computed for one.
 */
export interface Timeline {
  pass(event: PassEvent): void;
  wait(event: WaitEvent): void;
  segment(segment: ForwardSegment, by: PassName): void;
  lap(event: LapEvent, peerId: string, by: PassName | undefined): void;
  localExperts(event: LocalExpertsEvent, by: PassName | undefined): void;
}

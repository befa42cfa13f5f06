import type { PlacementModel } from '@shoal/placement';
import type { RowFormat } from '@shoal/protocol';
import type { Clock } from '../base/clock.ts';
import type { LocalCompute } from '../local-experts/compute.ts';
import type { Trust } from '../trust/trust.ts';
import type { knownAnswerTest } from './known-answer-test.ts';
import type { EventLog } from '../base/event-log.ts';
import type { Planner } from './rollout.ts';

export interface SwarmOptions {
  model: PlacementModel & { hiddenSize: number };
  /** SHA-256 of the expert's shard. */
  shardHash: (layer: number, expert: number) => string;
  local: LocalCompute;
  /** Probation, audits and quarantine; without it a peer that has passed its self-test is believed. */
  trust?: Trust;
  events: EventLog;
  /** How frames carry rows, to and from tabs that know the format; f16 by default. */
  rowFormat?: RowFormat;
  /** Copies of each expert on distinct donors, where memory allows. */
  replicas: number;
  /** Load of each expert of late, for spare copies: [layers × experts per layer]. */
  load?: () => ArrayLike<number>;
  /** Whether tabs that compute on their processor, without WebGPU, are taken; they are unless said otherwise. */
  cpuDonors?: boolean;
  maxPeers?: number;
  timings?: Partial<SwarmTimings>;
  clock?: Clock;
  /** In place of ours, for holding other placements against it. */
  planner?: Planner;
  /** In place of the known-answer test, where tabs compute nothing. */
  knownAnswerTest?: typeof knownAnswerTest;
}

export interface SwarmTimings {
  /** After a join: others that come with it are planned together. */
  joinDelayMs: number;
  /**
   * After the first tab that comes back to a coordinator which has just started: others that were there come as well, and until
   * then nobody downloads what they bring.
   */
  returnDelayMs: number;
  /** After a departure: a tab that only reloads is back by then. */
  leaveDelayMs: number;
  /** From an assignment to `ready`, without any progress. */
  loadTimeoutMs: number;
  /** How long a draining peer serves while others take over. */
  drainTimeoutMs: number;
}

export const DEFAULT_TIMINGS: SwarmTimings = {
  joinDelayMs: 150,
  returnDelayMs: 6_000,
  leaveDelayMs: 2_500,
  loadTimeoutMs: 120_000,
  drainTimeoutMs: 60_000,
};

import type { PlacementModel, planPlacement } from '@shoal/placement';
import type { ExpertNeeds, RowFormat } from '@shoal/protocol';
import type { AdapterShards } from '../adapters/adapter-shards.ts';
import type { Clock } from '../base/clock.ts';
import type { EventLog } from '../base/event-log.ts';
import type { LocalCompute } from '../local-experts/local-compute.ts';
import type { Trust } from '../trust/trust.ts';
import type { SwarmCluster } from './swarm-cluster.ts';
import type { knownAnswerTest } from './known-answer-test.ts';

export type Planner = typeof planPlacement;

export interface SwarmOptions {
  model: PlacementModel & { hiddenSize: number };
  /** What its experts ask of tabs. */
  expertNeeds?: ExpertNeeds;
  /** SHA-256 of the expert's shard. */
  shardHash: (layer: number, expert: number) => string;
  local: LocalCompute;
  /** Probation, audits and quarantine. Without it, a peer that has passed the known-answer test is believed. */
  trust?: Trust;
  events: EventLog;
  /** What adapters add to experts. Without it, the coordinator computes all adapted rows. */
  adapterShards?: AdapterShards | undefined;
  /** Called with the shards that a tab was to load when it could not get one, or got other contents. It may lie. */
  onBadShards?: (hashes: readonly string[]) => void;
  /** Row format of frames to and from tabs that support it; f16 by default. */
  rowFormat?: RowFormat;
  /** Replicas of each expert, on distinct donors, as far as memory allows. Asked for each plan, where it may change. */
  replicas: number | (() => number);
  /** Recent rows of each expert, [layers × expertsPerLayer]: busy experts get further replicas first. */
  load?: () => ArrayLike<number>;
  /** Whether tabs without WebGPU, which compute on their CPU, are let in. True by default. */
  cpuDonors?: boolean;
  /** Of each coordinator. */
  maxPeers?: number;
  /** Coordinators that have one swarm together. */
  cluster?: SwarmCluster | undefined;
  timings?: Partial<SwarmTimings>;
  clock?: Clock;
  /** Replaces planPlacement, to compare other placements with it. */
  planner?: Planner;
  /** Replaces the known-answer test, in simulations whose tabs compute nothing. */
  knownAnswerTest?: typeof knownAnswerTest;
}

export interface SwarmTimings {
  /** From a join to the next plan, so that tabs which join together are planned together. */
  joinDelayMs: number;
  /** From the first tab that returns to a restarted coordinator until experts that returning tabs may hold are downloaded. */
  returnDelayMs: number;
  /** From a departure to the next plan. A tab that only reloads is back by then. */
  leaveDelayMs: number;
  /** Longest time between signs of progress from an assignment to `ready`, and to a test that has to be made again. */
  loadTimeoutMs: number;
  /** Longest time that a draining peer serves while others take over. */
  peerDrainTimeoutMs: number;
}

export const DEFAULT_TIMINGS: SwarmTimings = {
  joinDelayMs: 150,
  returnDelayMs: 6_000,
  leaveDelayMs: 2_500,
  loadTimeoutMs: 45_000,
  peerDrainTimeoutMs: 60_000,
};

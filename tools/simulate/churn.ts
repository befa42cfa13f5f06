import { createRng } from '@shoal/model';
import { decode } from './decoding.ts';
import { drawDonor } from './donors.ts';
import { GateChoices, type Popularity } from './gate-choices.ts';
import { type SimModel, weightsPerExpert } from './models.ts';
import { type PlannerName, type PlanRecord, recordedPlanner } from './planners.ts';
import { quantile } from './random.ts';
import { Visits } from './visits.ts';
import { impliedBytes } from './wire-bytes.ts';
import { World } from './world.ts';

export interface ChurnOptions {
  donors: number;
  replicas: number;
  planner: PlannerName;
  popularity: Popularity;
  /** Concurrent streams: the rows of each lap. */
  streams: number;
  minutes: number;
  uplinkGbitPerS: number;
  seed: number;
}

interface Quantiles {
  p50: number;
  p95: number;
  p99: number;
}

export interface ChurnResult {
  tokensPerSecond: number;
  /** Virtual time of one token in all streams. */
  passMs: Quantiles;
  /** Virtual time from dispatch to combine. */
  lapMs: Quantiles;
  laps: number;
  distinctPeers: number;
  bytesPerToken: number;
  impliedBytesPerToken: number;
  /** Share of assignments that the coordinator computed. */
  uncoveredShare: number;
  /** Frames, one per peer. */
  asks: number;
  hedges: number;
  redispatches: number;
  joins: number;
  leaves: number;
  dismissals: number;
  meanOnline: number;
  plans: number;
  /** Wall-clock time on this machine. */
  planMs: { p50: number; max: number };
  fetchedBytes: number;
  movedBytes: number;
  fromCacheBytes: number;
}

/** Time before measuring: the swarm starts fully loaded and has to reach the steady state of its churn. */
const WARM_UP_MS = 2 * 60_000;
/** Time for the first plan to be made and loaded. */
const PRELOAD_MS = 10_000;
/** Dense part of a layer (attention, gate, shared expert) on a GPU: an assumption, the same for all planners. */
const COORDINATOR_LAYER_MS = 1;

/** Simulates streams on a swarm with churn; all times but those of planning are virtual. */
export async function simulateChurn(model: SimModel, options: ChurnOptions): Promise<ChurnResult> {
  const { seed, donors, streams, popularity, minutes } = options;
  const rng = createRng(seed);
  const { planner, record } = recordedPlanner(options.planner);
  const samples: Samples = { passMs: [], lapMs: [], online: [] };
  const world = new World(model, { ...options, planner, rng, maxPeers: donors, onLap: (ms) => samples.lapMs.push(ms) });
  const machines = Array.from({ length: donors }, (_, i) => drawDonor(i, rng, weightsPerExpert(model)));
  const visits = new Visits(world, machines);
  await world.clock.runUntil(PRELOAD_MS);
  world.preloaded = false;
  const onPass = (passMs: number): void => {
    samples.passMs.push(passMs);
    samples.online.push(visits.online);
  };
  const choices = new GateChoices(model, popularity, createRng(seed + 1));
  const failed = decode(world, { streams, choices, coordinatorLayerMs: COORDINATOR_LAYER_MS, onPass });
  await Promise.race([failed, world.clock.runUntil(WARM_UP_MS)]);
  const before = counters(world, visits, record);
  for (const list of Object.values(samples)) list.length = 0;
  await Promise.race([failed, world.clock.runUntil(WARM_UP_MS + minutes * 60_000)]);
  const counted = since(counters(world, visits, record), before);
  return summary(model, streams, { samples, counted, record });
}

interface Samples {
  passMs: number[];
  lapMs: number[];
  online: number[];
}

function counters({ dispatcher, counted }: World, visits: Visits, record: PlanRecord) {
  const { laps, asks, hedges, redispatches, frameBytes, tabRows, tabRowParts } = dispatcher.figures;
  const { tabAssignments, fallbackAssignments } = dispatcher.figures;
  const { joins, leaves, dismissals } = visits;
  const work = {
    laps,
    asks,
    hedges,
    redispatches,
    frameBytes,
    tabRows,
    tabRowParts,
    tabAssignments,
    fallbackAssignments,
  };
  const { movedBytes, planMs } = record;
  return { ...work, joins, leaves, dismissals, movedBytes, plans: planMs.length, ...counted };
}

type Counters = ReturnType<typeof counters>;

function since(now: Counters, before: Counters): Counters {
  const keys = Object.keys(now) as (keyof Counters)[];
  return Object.fromEntries(keys.map((key) => [key, now[key] - before[key]])) as Record<keyof Counters, number>;
}

function summary(
  model: SimModel,
  streams: number,
  { samples, counted, record }: { samples: Samples; counted: Counters; record: PlanRecord },
): ChurnResult {
  const { passMs, lapMs, online } = samples;
  const { tabRows, tabRowParts, frameBytes, tabAssignments, fallbackAssignments, ...rest } = counted;
  const tokens = (counted.laps * streams) / model.numLayers;
  const planMs = record.planMs.slice(record.planMs.length - counted.plans).sort((a, b) => a - b);
  return {
    ...rest,
    tokensPerSecond: (passMs.length * streams) / (sum(passMs) / 1000),
    passMs: quantiles(passMs),
    lapMs: quantiles(lapMs),
    distinctPeers: tabRowParts / tabRows,
    bytesPerToken: frameBytes / tokens,
    impliedBytesPerToken: impliedBytes(model.hiddenSize, tabRowParts) / tokens,
    uncoveredShare: fallbackAssignments / (fallbackAssignments + tabAssignments),
    meanOnline: sum(online) / online.length,
    planMs: { p50: quantile(planMs, 0.5), max: planMs.at(-1) ?? 0 },
  };
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}

function quantiles(samples: readonly number[]): Quantiles {
  const sorted = [...samples].sort((a, b) => a - b);
  return { p50: quantile(sorted, 0.5), p95: quantile(sorted, 0.95), p99: quantile(sorted, 0.99) };
}

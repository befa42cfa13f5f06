import { createRng, type Rng } from '@shoal/model';
import { coverRows, LoadMeter } from '@shoal/placement';
import { logNormal } from './donors.ts';
import { GateChoices, type Popularity } from './gate-choices.ts';
import { placementModel, type SimModel } from './models.ts';
import { partsOf } from './still.ts';
import { type Planner, SimSwarm } from './swarm.ts';
import { impliedBytes, lapFrameBytes, roundTrips } from './wire-bytes.ts';

export interface ChurnOptions {
  donors: number;
  replicas: number;
  planner: Planner;
  popularity: Popularity;
  /** Streams that decode together: rows of every lap. */
  streams: number;
  minutes: number;
  uplinkGbitPerS: number;
  seed: number;
}

export interface ChurnResult {
  tokensPerSecond: number;
  passes: number;
  /** Virtual time of one token of every stream: median and 99th percentile. */
  passMs: { p50: number; p99: number };
  distinctPeers: number;
  bytesPerToken: number;
  impliedBytesPerToken: number;
  /** (row, expert) pairs that the coordinator computed, as a share. */
  uncoveredShare: number;
  redispatches: number;
  laps: number;
  joins: number;
  leaves: number;
  meanOnline: number;
  plans: number;
  planMs: { p50: number; max: number };
  fetchedBytes: number;
  movedBytes: number;
  fromCacheBytes: number;
}

/** Before anything is measured: the swarm begins with everything loaded, and has to get into the stride of its churn. */
const WARM_UP_MS = 5 * 60_000;
/** The coordinator's own layer (attention, gate, shared expert) on a GPU: an assumption, the same for all planners. */
const COORDINATOR_LAYER_MS = 1;
/** Weights that the coordinator reads for an expert it computes itself, in WASM SIMD on one thread: measured at 11 to 17 GB/s. */
const LOCAL_BYTES_PER_MS = 11e6;
/** No lap is given up before this (coordinator/src/dispatch/lap-client.ts). */
const LAP_DEADLINE_MS = 1_000;
const RTT_JITTER_SIGMA = 0.1;

interface Totals {
  rowParts: number;
  bytes: number;
  assignments: number;
  uncovered: number;
  redispatches: number;
  laps: number;
}

/** Streams decode over a swarm that comes and goes; all times are virtual but those of planning. */
export function simulateChurn(model: SimModel, options: ChurnOptions): ChurnResult {
  const rng = createRng(options.seed);
  const choices = new GateChoices(model, options.popularity, createRng(options.seed + 1));
  const counters = new Float64Array(model.numLayers * model.expertsPerLayer);
  const meter = new LoadMeter(counters.length);
  let nowMs = 0;
  const swarm = new SimSwarm(placementModel(model), {
    ...options,
    rng,
    load: () => meter.read(counters, nowMs),
  });
  swarm.advance(WARM_UP_MS);
  const atStart = { ...swarm.counted };
  const plansAtStart = swarm.planMs.length;
  const totals: Totals = { rowParts: 0, bytes: 0, assignments: 0, uncovered: 0, redispatches: 0, laps: 0 };
  const passMs: number[] = [];
  let onlineSum = 0;
  const endMs = WARM_UP_MS + options.minutes * 60_000;
  for (nowMs = WARM_UP_MS; nowMs < endMs;) {
    const startedMs = nowMs;
    for (let layer = 0; layer < model.numLayers; layer++) {
      swarm.advance(nowMs);
      const experts = Array.from({ length: options.streams }, () => choices.draw(layer)).flat();
      for (const expert of experts) counters[layer * model.expertsPerLayer + expert]!++;
      const rows = experts.map((_, a) => Math.floor(a / model.topK));
      nowMs += COORDINATOR_LAYER_MS + lap(model, swarm, layer, experts, rows, nowMs, rng, totals);
    }
    passMs.push(nowMs - startedMs);
    onlineSum += swarm.online;
  }
  return summary(model, options, { swarm, atStart, plansAtStart, totals, passMs, onlineSum });
}

/** One dispatch and combine; what fails goes elsewhere, as in the dispatcher. Returns how long it took. */
function lap(
  model: SimModel,
  swarm: SimSwarm,
  layer: number,
  experts: readonly number[],
  rows: readonly number[],
  nowMs: number,
  rng: Rng,
  totals: Totals,
  tried: ReadonlySet<number> = new Set(),
): number {
  const chosen = coverRows(experts, rows, {
    holders: (expert) => swarm.holders[layer * model.expertsPerLayer + expert]!.filter((tab) => !tried.has(tab)),
    usualMs: (tab) => swarm.tabs[tab]!.donor.peer.rttMs,
  });
  if (tried.size === 0) {
    totals.laps++;
    totals.assignments += experts.length;
  }
  let lapMs = 0;
  const failed = new Set<number>();
  for (const [index, part] of partsOf(chosen, rows)) {
    if (index === -1) {
      const local = new Set(experts.filter((_, a) => chosen[a] === -1)).size;
      totals.uncovered += part.assignments;
      lapMs = Math.max(lapMs, (local * placementModel(model).shardBytes) / LOCAL_BYTES_PER_MS);
      continue;
    }
    const { donor, goneAtMs, here } = swarm.tabs[index]!;
    const { dispatchBytes, combineBytes } = lapFrameBytes(model.hiddenSize, part.rows, part.assignments);
    const rttMs = donor.peer.rttMs * logNormal(rng, { median: 1, sigma: RTT_JITTER_SIGMA });
    const wireMs = rttMs * (roundTrips(dispatchBytes) + roundTrips(combineBytes) - 1);
    const tookMs = wireMs + (part.assignments / donor.peer.rowsPerSecond) * 1000;
    totals.bytes += dispatchBytes;
    if (!here || nowMs + tookMs > goneAtMs) {
      failed.add(index);
      continue;
    }
    totals.rowParts += part.rows;
    totals.bytes += combineBytes;
    lapMs = Math.max(lapMs, tookMs);
  }
  if (failed.size === 0) return lapMs;
  totals.redispatches += failed.size;
  const again = experts.map((_, a) => a).filter((a) => failed.has(chosen[a]!));
  const retryMs = lap(
    model,
    swarm,
    layer,
    again.map((a) => experts[a]!),
    again.map((a) => rows[a]!),
    nowMs + LAP_DEADLINE_MS,
    rng,
    totals,
    new Set([...tried, ...failed]),
  );
  return Math.max(lapMs, LAP_DEADLINE_MS + retryMs);
}

interface Measured {
  swarm: SimSwarm;
  atStart: SimSwarm['counted'];
  plansAtStart: number;
  totals: Totals;
  passMs: number[];
  onlineSum: number;
}

function summary(model: SimModel, { streams }: ChurnOptions, measured: Measured): ChurnResult {
  const { swarm, atStart, plansAtStart, totals, passMs, onlineSum } = measured;
  const sorted = [...passMs].sort((a, b) => a - b);
  const planMs = swarm.planMs.slice(plansAtStart).sort((a, b) => a - b);
  const tokens = passMs.length * streams;
  const since = (key: keyof SimSwarm['counted']): number => swarm.counted[key] - atStart[key];
  return {
    tokensPerSecond: tokens / (passMs.reduce((sum, ms) => sum + ms, 0) / 1000),
    passes: passMs.length,
    passMs: { p50: quantile(sorted, 0.5), p99: quantile(sorted, 0.99) },
    distinctPeers: totals.rowParts / tokens / model.numLayers,
    bytesPerToken: totals.bytes / tokens,
    impliedBytesPerToken: impliedBytes(model.hiddenSize, totals.rowParts) / tokens,
    uncoveredShare: totals.uncovered / totals.assignments,
    redispatches: totals.redispatches,
    laps: totals.laps,
    joins: since('joins'),
    leaves: since('leaves'),
    meanOnline: onlineSum / passMs.length,
    plans: since('plans'),
    planMs: { p50: quantile(planMs, 0.5), max: planMs.at(-1) ?? 0 },
    fetchedBytes: since('fetchedBytes'),
    movedBytes: since('movedBytes'),
    fromCacheBytes: since('fromCacheBytes'),
  };
}

/** @param sorted ascending */
export function quantile(sorted: readonly number[], q: number): number {
  return sorted[Math.min(sorted.length - 1, Math.floor(q * sorted.length))] ?? 0;
}

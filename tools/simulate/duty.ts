import { createRng } from '@shoal/model';
import { planPlacement } from '@shoal/placement';
import { decode } from './decoding.ts';
import type { SimDonor } from './donors.ts';
import { GateChoices } from './gate-choices.ts';
import { SIM_MODELS } from './models.ts';
import { quantile } from './random.ts';
import { VirtualTab } from './virtual-tab.ts';
import { World } from './world.ts';

export interface DutyOptions {
  /** Share of the time that the first tab computes; undefined: it has not joined. */
  share: number | undefined;
  /** Tabs beside it, each able to hold everything, so that a replica of every expert is elsewhere. */
  others: number;
  streams: number;
  seconds: number;
}

export interface DutyResult {
  /** Share of the time that the first tab's GPU was busy. */
  busyShare: number;
  /** From one token of a stream to the next. */
  gapMs: { p50: number; p95: number };
  /** Share of the laps' assignments that the first tab computed. */
  workShare: number;
  failures: number;
  dismissals: number;
}

const WARM_UP_MS = 20_000;
const COORDINATOR_LAYER_MS = 1;

/** Streams at full demand over tabs of the same speed, of which one keeps a share of the time: all on the virtual clock. */
export async function simulateDuty({ share, others, streams, seconds }: DutyOptions): Promise<DutyResult> {
  const model = SIM_MODELS['v2-lite']!;
  const gaps: number[] = [];
  const world = new World(model, {
    replicas: others + 1,
    planner: planPlacement,
    uplinkGbitPerS: 10,
    rng: createRng(5),
    maxPeers: 64,
  });
  const pledgeBytes = 2 * model.numLayers * model.expertsPerLayer * world.shardBytes;
  const count = share === undefined ? others : others + 1;
  const tabs = Array.from({ length: count }, (_, i) => new VirtualTab(world, machine(i, pledgeBytes), new Set()));
  let dismissals = 0;
  for (const tab of tabs) tab.onDismissed = () => dismissals++;
  await world.clock.runUntil(10_000);
  const first = share === undefined ? undefined : tabs[0]!;
  if (share !== undefined && share < 1) first!.promise({ share });
  const choices = new GateChoices(model, 'uniform', createRng(6));
  const failed = decode(world, {
    streams,
    choices,
    coordinatorLayerMs: COORDINATOR_LAYER_MS,
    onPass: (ms) => gaps.push(ms),
  });
  await Promise.race([failed, world.clock.runUntil(WARM_UP_MS)]);
  gaps.length = 0;
  const busyBefore = first?.busyMs ?? 0;
  const workBefore = tabs.map(({ session }) => session.laps.assignments);
  await Promise.race([failed, world.clock.runUntil(WARM_UP_MS + 1000 * seconds)]);
  const work = tabs.map(({ session }, i) => session.laps.assignments - workBefore[i]!);
  gaps.sort((a, b) => a - b);
  return {
    busyShare: ((first?.busyMs ?? 0) - busyBefore) / (1000 * seconds),
    gapMs: { p50: quantile(gaps, 0.5), p95: quantile(gaps, 0.95) },
    workShare: first ? work[0]! / work.reduce((a, b) => a + b, 0) : 0,
    failures: tabs.reduce((sum, { session }) => sum + session.laps.lapsFailed, 0),
    dismissals,
  };
}

/** A fast line and a GPU that is slow enough to matter. */
function machine(index: number, pledgeBytes: number): SimDonor {
  return {
    donorToken: `donor-${index}`,
    pledgeBytes,
    assignmentsPerSecond: 600,
    lapOverheadMs: 2,
    rttMs: 5,
    rttSigma: 0.05,
    downloadBytesPerMs: 100_000,
    uploadBytesPerMs: 20_000,
    lossShare: 0,
  };
}

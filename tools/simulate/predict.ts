import { createRng } from '@shoal/model';
import type { ExpertIndex } from '@shoal/placement';
import { decode } from './decoding.ts';
import type { SimDonor } from './donors.ts';
import { GateChoices } from './gate-choices.ts';
import type { SimModel } from './models.ts';
import { quantile } from './random.ts';
import type { Gpu } from './virtual-backend.ts';
import { VirtualTab } from './virtual-tab.ts';
import { World } from './world.ts';

/** A tab's measured speed and its experts. */
export interface KnownTab extends Gpu {
  rttMs: number;
  held: readonly ExpertIndex[];
}

export interface LapPrediction {
  lapMs: number;
  tokensPerSecond: number;
}

export interface PredictOptions {
  streams: number;
  passes: number;
  /** Dense part of a layer. */
  coordinatorLayerMs: number;
  seed: number;
}

/** Predicts lap time and tokens per second for known tabs with a known placement and no churn. */
export async function predictLaps(
  model: SimModel,
  tabs: readonly KnownTab[],
  options: PredictOptions,
): Promise<LapPrediction> {
  const { streams, coordinatorLayerMs, seed } = options;
  const donors = tabs.map(asDonor);
  const lapMs: number[] = [];
  const passMs: number[] = [];
  const world = new World(model, {
    replicas: 1,
    // Peers come in order of joining.
    planner: (_model, peers) => ({
      epoch: 1,
      held: new Map(peers.map(({ peerId }, i) => [peerId, tabs[i]!.held])),
      fetchedBytes: 0,
      movedBytes: 0,
      deferred: false,
    }),
    uplinkGbitPerS: 1,
    rng: createRng(seed),
    maxPeers: tabs.length,
    onLap: (ms) => lapMs.push(ms),
  });
  const visits = donors.map((donor) => new VirtualTab(world, donor, new Set()));
  while (!visits.every(({ session }) => session.serving)) await world.clock.runUntil(world.clock.now() + 1000);
  const choices = new GateChoices(model, 'uniform', createRng(seed + 1));
  const failed = decode(world, { streams, choices, coordinatorLayerMs, onPass: (ms) => passMs.push(ms) });
  while (passMs.length < options.passes) {
    await Promise.race([failed, world.clock.runUntil(world.clock.now() + 1000)]);
  }
  world.swarm.close();
  const seconds = passMs.reduce((sum, ms) => sum + ms, 0) / 1000;
  return {
    lapMs: quantile(
      [...lapMs].sort((a, b) => a - b),
      0.5,
    ),
    tokensPerSecond: (passMs.length * streams) / seconds,
  };
}

function asDonor({ rttMs, lapOverheadMs, assignmentsPerSecond }: KnownTab, index: number): SimDonor {
  return {
    donorToken: `tab-${index}`,
    pledgeBytes: 2 ** 40,
    lapOverheadMs,
    assignmentsPerSecond,
    rttMs,
    rttSigma: 0,
    lossShare: 0,
    downloadBytesPerMs: Number.POSITIVE_INFINITY,
    uploadBytesPerMs: Number.POSITIVE_INFINITY,
  };
}

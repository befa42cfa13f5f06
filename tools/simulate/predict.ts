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

/** A tab as it was measured, and what it holds. */
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
  /** The coordinator's own share of a layer. */
  coordinatorLayerMs: number;
  seed: number;
}

/** Lap times and tokens a second of known tabs in a known placement, none of which comes or goes. */
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
    // In the order in which they joined.
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

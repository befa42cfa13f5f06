import { createRng } from '@shoal/model';
import { type PlacementPeer, type PlacementPlan, planPlacement } from '@shoal/placement';
import { drawDonor, placementPeerOf } from './donors.ts';
import { equalTabs, placementModel, type SimModel, weightsPerExpert } from './models.ts';

export interface PlanningTimes {
  peers: string;
  experts: number;
  /** Medians of wall-clock times on this machine. */
  freshMs: number;
  joinMs: number;
  leaveMs: number;
  unchangedMs: number;
}

/** Measures planning for `numPeers` peers, all equal and all different. */
export function planningTimes(model: SimModel, numPeers: number, repeats: number): PlanningTimes[] {
  const rng = createRng(1);
  const unlike = Array.from({ length: numPeers }, (_, i) =>
    placementPeerOf(drawDonor(i, rng, weightsPerExpert(model))),
  );
  return [
    timesFor(model, `${numPeers} alike`, equalTabs(numPeers), repeats),
    timesFor(model, `${numPeers} unlike`, unlike, repeats),
  ];
}

function timesFor(model: SimModel, name: string, peers: PlacementPeer[], repeats: number): PlanningTimes {
  const placement = placementModel(model);
  const plan = (given: readonly PlacementPeer[], previous?: PlacementPlan) =>
    planPlacement(placement, given, { replicas: 2, ...(previous ? { previous } : {}) });
  const before = plan(peers);
  const busy = peers.findIndex(({ peerId }) => before.held.get(peerId)!.length > 0);
  const newcomer = { ...peers[0]!, peerId: 'newcomer', donorId: 'newcomer' };
  return {
    peers: name,
    experts: model.numLayers * model.expertsPerLayer,
    freshMs: medianMs(repeats, () => plan(peers)),
    joinMs: medianMs(repeats, () => plan([...peers, newcomer], before)),
    leaveMs: medianMs(repeats, () => plan(peers.toSpliced(busy, 1), before)),
    unchangedMs: medianMs(repeats, () => plan(peers, before)),
  };
}

function medianMs(repeats: number, run: () => unknown): number {
  const times = Array.from({ length: repeats }, () => {
    const startedMs = performance.now();
    run();
    return performance.now() - startedMs;
  });
  return times.sort((a, b) => a - b)[repeats >> 1]!;
}

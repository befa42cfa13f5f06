import { type PlacementPlan, planPlacement } from '@shoal/placement';
import type { Planner } from '../../coordinator/src/swarm/swarm-options.ts';
import { hashPlacement, roundRobinPlacement } from './baselines.ts';

export type PlannerName = 'shoal' | 'hash' | 'round-robin';

/** What the plans of a run came to. */
export interface PlanRecord {
  /** Wall-clock milliseconds of each plan on this machine. */
  planMs: number[];
  movedBytes: number;
}

/** One of the placements as the coordinator's rollout asks for it, with a record of what it planned. */
export function recordedPlanner(name: PlannerName): { planner: Planner; record: PlanRecord } {
  const record: PlanRecord = { planMs: [], movedBytes: 0 };
  const planner: Planner = (model, peers, options) => {
    const startedMs = performance.now();
    const plan = PLANNERS[name](model, peers, options);
    record.planMs.push(performance.now() - startedMs);
    record.movedBytes += plan.movedBytes;
    return plan;
  };
  return { planner, record };
}

const PLANNERS: Readonly<Record<PlannerName, Planner>> = {
  shoal: planPlacement,
  hash: (model, peers, options) => {
    // By donor, whose name stays the same from visit to visit.
    const donors = peers.map((peer) => ({ ...peer, peerId: peer.donorId }));
    const byDonor = hashPlacement(model, donors, options.replicas);
    const held = new Map(peers.map(({ peerId, donorId }) => [peerId, byDonor.held.get(donorId)!]));
    return unmoved({ epoch: (options.previous?.epoch ?? 0) + 1, held });
  },
  'round-robin': (model, peers, options) =>
    unmoved({ ...roundRobinPlacement(model, peers, options.replicas), epoch: (options.previous?.epoch ?? 0) + 1 }),
};

/** They move whatever their rule moves, and know no budget for it. */
function unmoved(plan: PlacementPlan): ReturnType<Planner> {
  return { ...plan, fetchedBytes: 0, movedBytes: 0, deferred: false };
}

import { type PlacementPlan, planPlacement } from '@shoal/placement';
import type { Planner } from '../../coordinator/src/swarm/swarm-options.ts';
import { hashPlacement, roundRobinPlacement } from './baselines.ts';

export type PlannerName = 'shoal' | 'hash' | 'round-robin';

/** Totals of a run's plans. */
export interface PlanRecord {
  /** Wall-clock time of each plan on this machine. */
  planMs: number[];
  movedBytes: number;
}

/** Wraps a placement as a planner for the coordinator's rollout, with a record of its plans. */
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
    // Hashes donor IDs, which stay the same between visits.
    const donors = peers.map((peer) => ({ ...peer, peerId: peer.donorId }));
    const byDonor = hashPlacement(model, donors, options.replicas);
    const held = new Map(peers.map(({ peerId, donorId }) => [peerId, byDonor.held.get(donorId)!]));
    return unmoved({ epoch: (options.previous?.epoch ?? 0) + 1, held });
  },
  'round-robin': (model, peers, options) =>
    unmoved({ ...roundRobinPlacement(model, peers, options.replicas), epoch: (options.previous?.epoch ?? 0) + 1 }),
};

/** Baselines have no budget for moves and count none. */
function unmoved(plan: PlacementPlan): ReturnType<Planner> {
  return { ...plan, fetchedBytes: 0, movedBytes: 0, deferred: false };
}

import { capacityInExperts, planPlacement } from '@shoal/placement';
import { eplbPlacement, hashPlacement, roundRobinPlacement } from './baselines.ts';
import type { Popularity } from './gate-choices.ts';
import { equalTabs, placementModel, type SimModel, TAB_BYTES } from './models.ts';
import { measureStill, type StillResult } from './still.ts';

export interface StillRow extends StillResult {
  planner: string;
  tabs: number;
  replicas: number;
  /** Fill of the fullest tab; above 1 the placement does not fit. */
  fullest: number;
}

/** Compares placements of a model in a swarm without churn. */
export function stillRows(
  model: SimModel,
  tabs: number,
  options: { tokens: number; seed: number; popularity: Popularity; batch: number },
): StillRow[] {
  const placement = placementModel(model);
  const row = (planner: string, count: number, replicas: number, plan: ReturnType<typeof hashPlacement>): StillRow => {
    const capacity = capacityInExperts(TAB_BYTES, placement.shardBytes);
    const fullest = Math.max(...[...plan.held.values()].map((held) => held.length)) / capacity;
    return { planner, tabs: count, replicas, fullest, ...measureStill(model, plan, options) };
  };
  const shoal = (count: number, replicas: number): StillRow =>
    row('Shoal', count, replicas, planPlacement(placement, equalTabs(count), { replicas }));
  return [
    shoal(tabs, 1),
    shoal(Math.ceil(1.15 * tabs), 1),
    shoal(2 * tabs, 2),
    row('per-expert hash', tabs, 1, hashPlacement(placement, equalTabs(tabs))),
    row('per-expert hash', 2 * tabs, 2, hashPlacement(placement, equalTabs(2 * tabs), 2)),
    row('round robin', tabs, 1, roundRobinPlacement(placement, equalTabs(tabs))),
    row('plain EPLB', tabs, 1, eplbPlacement(placement, equalTabs(tabs))),
  ];
}

/** 1-GiB tabs, filled to 85 %, needed for one copy of every expert. */
export function justEnoughTabs(model: SimModel): number {
  const { shardBytes } = placementModel(model);
  const perTab = capacityInExperts(TAB_BYTES, shardBytes);
  return Math.ceil((model.numLayers * model.expertsPerLayer) / perTab);
}

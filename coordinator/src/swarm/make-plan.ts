import {
  type Elsewhere,
  type ExpertIndex,
  MoveAllowance,
  type PlacementModel,
  type PlacementPeer,
  type PlacementPlan,
  type PlacementResult,
  planPlacement,
  pledgeFor,
} from '@shoal/placement';
import { systemClock } from '../base/clock.ts';
import type { PlannedTab } from './planned-tab.ts';
import type { SwarmOptions } from './swarm-options.ts';

export interface PlanMakerOptions extends Pick<SwarmOptions, 'replicas' | 'clock' | 'planner'> {
  model: PlacementModel;
  load?: (() => ArrayLike<number>) | undefined;
  /** What the tab held when it was last seen. */
  heldBefore: (tab: PlannedTab) => readonly ExpertIndex[];
  /** What tabs hold that others plan for. */
  elsewhere?: (() => Elsewhere) | undefined;
}

/** What a plan starts from. */
export interface PlanRequest {
  /** The tabs that take part. */
  able: readonly PlannedTab[];
  /** The plan before it. */
  before: PlacementPlan;
  doubts: Doubts;
  /** Whether peers may download what they have not kept. Asked only if the plan would have them do so. */
  mayFetch: () => boolean;
}

/** By peer that has not loaded its experts in time, those that nobody serves. */
export type Doubts = ReadonlyMap<PlannedTab, ReadonlySet<ExpertIndex>>;

/** Makes plans for the tabs as they are now, within the allowance of bytes to move. */
export class PlanMaker {
  readonly #options: PlanMakerOptions;
  readonly #allowance = new MoveAllowance();

  constructor(options: PlanMakerOptions) {
    this.#options = options;
  }

  plan(request: PlanRequest): PlacementResult {
    const elsewhere = this.#options.elsewhere?.();
    const plan = this.#planWithout(request, this.#planOnce(request, elsewhere), elsewhere);
    this.#allowance.spend(plan.movedBytes);
    return plan;
  }

  #planOnce({ able, before, mayFetch }: PlanRequest, elsewhere: Elsewhere | undefined): PlacementResult {
    const { heldBefore } = this.#options;
    const held = new Map(
      able.map((peer) => [peer.peerId, peer.assigned.size > 0 ? [...peer.assigned] : heldBefore(peer)]),
    );
    const peers = able.map(({ measured }) => measured);
    const previous = { epoch: before.epoch, held };
    const plan = this.#planFrom(previous, peers, { elsewhere });
    return plan.fetchedBytes > 0 && !mayFetch() ? this.#planFrom(previous, peers, { elsewhere, keepOnly: true }) : plan;
  }

  /**
   * The plan again, without counting on doubtful holders for what nobody serves: whoever has room left loads that too. They go
   * on loading it meanwhile. A plan that counted on nobody new to begin with would give every tab the same experts.
   */
  #planWithout(
    { able, before, doubts, mayFetch }: PlanRequest,
    plan: PlacementResult,
    elsewhere: Elsewhere | undefined,
  ): PlacementResult {
    if (doubts.size === 0) return plan;
    const held = new Map(plan.held);
    const peers = able.map((peer) => {
      const doubted = doubts.get(peer);
      if (doubted === undefined) return peer.measured;
      const rest = plan.held.get(peer.peerId)!.filter((expert) => !doubted.has(expert));
      held.set(peer.peerId, rest);
      // No room for more than what it is still counted on for.
      return { ...peer.measured, pledgeBytes: pledgeFor(rest.length, this.#options.model.shardBytes) };
    });
    const { movedBytes } = plan;
    const again = this.#planFrom({ epoch: before.epoch, held }, peers, {
      elsewhere,
      keepOnly: !mayFetch(),
      movedBytes,
    });
    return { ...again, epoch: plan.epoch, movedBytes: movedBytes + again.movedBytes };
  }

  #planFrom(
    previous: PlacementPlan,
    peers: readonly PlacementPeer[],
    given: { elsewhere: Elsewhere | undefined; keepOnly?: boolean; movedBytes?: number },
  ): PlacementResult {
    const { model, replicas, load, clock = systemClock, planner = planPlacement } = this.#options;
    const { elsewhere, keepOnly = false, movedBytes = 0 } = given;
    // While some tabs are beyond reach, what they hold is only good enough: they may be back in a moment.
    const isPartial = elsewhere !== undefined && elsewhere.donors > 0;
    return planner(model, peers, {
      replicas: typeof replicas === 'number' ? replicas : replicas(),
      previous,
      maxMoveBytes: isPartial ? 0 : this.#allowance.at(clock.now()) - movedBytes,
      ...(load && { load: load() }),
      ...(keepOnly && { keepOnly }),
      ...(isPartial && { elsewhere }),
    });
  }
}

export function doubtsOf(able: readonly PlannedTab[]): Doubts {
  const doubts = new Map<PlannedTab, Set<ExpertIndex>>();
  const doubtful = able.filter((peer) => peer.doubtful);
  // Where all are still loading, there is nobody else to count on.
  if (doubtful.length === 0 || doubtful.length === able.length) return doubts;
  const served = new Set(able.flatMap((peer) => [...peer.live]));
  for (const peer of doubtful) {
    const unserved = new Set([...peer.assigned].filter((expert) => !served.has(expert)));
    if (unserved.size > 0) doubts.set(peer, unserved);
  }
  return doubts;
}

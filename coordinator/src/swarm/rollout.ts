import {
  capacityInExperts,
  type ExpertIndex,
  MoveAllowance,
  type PlacementModel,
  type PlacementPeer,
  type PlacementPlan,
  type PlacementResult,
  planPlacement,
} from '@shoal/placement';
import { type Clock, systemClock } from '../dispatch/clock.ts';
import type { ExpertRef } from './admission.ts';
import type { EventLog } from './event-log.ts';
import type { PeerSession } from './peer-session.ts';

export interface RolloutOptions {
  model: PlacementModel;
  /** SHA-256 of the expert's shard. */
  shardHash: (layer: number, expert: number) => string;
  replicas: number;
  events: EventLog;
  /** [layers × experts] rows of late, for which experts get replicas first; without it all count as equally busy. */
  load?: () => ArrayLike<number>;
  peers: () => readonly PeerSession[];
  /** What a peer's donor held when it was last seen. */
  heldBefore: (peer: PeerSession) => readonly ExpertIndex[];
  /** An assignment was sent: the peer should report progress soon. */
  onAssigned: (peer: PeerSession) => void;
  clock?: Clock;
  /** How a plan is made: for holding other placements against ours. */
  planner?: Planner;
}

export type Planner = typeof planPlacement;

/** New, half known, known: trust grows with verified work as the audited share falls. */
const TRUST_STEPS = 2;

/**
 * The way from one placement to the next without a gap: peers first grow into the new plan, and give up what it takes from
 * them only when its new holders serve it.
 */
export class Rollout {
  plan: PlacementPlan = { epoch: 0, held: new Map() };
  /** A better place is known for some experts, but their bytes were not granted yet: planning again later goes on with it. */
  deferred = false;
  readonly #options: RolloutOptions;
  readonly #allowance = new MoveAllowance();
  #assignments = 0;

  constructor(options: RolloutOptions) {
    this.#options = options;
  }

  /** Plan anew for the peers that are there, and set out for it; `mayFetch`: beyond what they have kept. */
  replan(mayFetch: () => boolean = () => true): void {
    const { model, events } = this.#options;
    const able = this.#options.peers().filter(takesPart);
    let plan = this.#planned(able, false);
    if (plan.fetchedBytes > 0 && !mayFetch()) plan = this.#planned(able, true);
    this.#allowance.spend(plan.movedBytes);
    this.plan = plan;
    this.deferred = plan.deferred;
    for (const peer of able) this.#steer(peer, new Set(this.plan.held.get(peer.peerId)));
    this.retire();
    const covered = new Set([...this.plan.held.values()].flat()).size;
    const all = model.layers.length * model.expertsPerLayer;
    events.add({
      level: covered < all ? 'warning' : 'info',
      kind: 'placement',
      text: `Placement ${this.plan.epoch}: ${covered} of ${all} experts on ${able.length} ${able.length === 1 ? 'tab' : 'tabs'}`,
    });
  }

  #planned(able: readonly PeerSession[], keepOnly: boolean): PlacementResult {
    const { model, replicas, load, clock = systemClock, planner = planPlacement } = this.#options;
    const held = new Map(able.map((peer) => [peer.peerId, this.#before(peer)]));
    return planner(model, able.map(placementPeer), {
      replicas,
      previous: { epoch: this.plan.epoch, held },
      maxMoveBytes: this.#allowance.at(clock.now()),
      ...(load ? { load: load() } : {}),
      ...(keepOnly && { keepOnly }),
    });
  }

  /** Let peers give up what their target no longer has, once all that are to hold it serve it. */
  retire(): void {
    for (const peer of this.#options.peers()) {
      if (!takesPart(peer)) continue;
      const surplus = [...peer.assigned].filter((expert) => !peer.target.has(expert));
      const grown = [...peer.target].every((expert) => peer.live.has(expert));
      if (surplus.length > 0 && grown && this.#taken(peer, surplus)) this.#assign(peer, new Set(peer.target));
    }
  }

  /** Whether everything that a peer serves is served by all others that are to. */
  replaceable(peer: PeerSession): boolean {
    return this.#taken(peer, [...peer.live]);
  }

  ref(expert: ExpertIndex): ExpertRef {
    const { layers, expertsPerLayer } = this.#options.model;
    return { layer: layers[Math.floor(expert / expertsPerLayer)]!, expert: expert % expertsPerLayer };
  }

  #taken(peer: PeerSession, experts: readonly ExpertIndex[]): boolean {
    const heirs = this.#options.peers().filter((other) => other !== peer && takesPart(other));
    return experts.every((expert) => heirs.every((heir) => !heir.target.has(expert) || heir.live.has(expert)));
  }

  #before(peer: PeerSession): readonly ExpertIndex[] {
    return peer.assigned.size > 0 ? [...peer.assigned] : this.#options.heldBefore(peer);
  }

  /** Towards a new target by way of the union, unless its memory forbids the detour. */
  #steer(peer: PeerSession, target: Set<ExpertIndex>): void {
    peer.target = target;
    const union = new Set([...peer.assigned, ...target]);
    const next = this.#fits(peer, union) ? union : target;
    const changes = next.size !== peer.assigned.size || [...next].some((expert) => !peer.assigned.has(expert));
    if (changes) this.#assign(peer, next);
    // A swarm may have more tabs than work.
    else if (next.size === 0 && peer.state === 'loading') peer.state = 'waiting';
  }

  #fits(peer: PeerSession, experts: ReadonlySet<ExpertIndex>): boolean {
    const { model } = this.#options;
    const { pledgeBytes, maxExpertsPerLayer } = peer.placementPeer();
    const counts = model.layers.map(() => 0);
    for (const expert of experts) counts[Math.floor(expert / model.expertsPerLayer)]!++;
    return (
      experts.size <= capacityInExperts(pledgeBytes, model.shardBytes) &&
      counts.every((count) => count <= maxExpertsPerLayer)
    );
  }

  #assign(peer: PeerSession, experts: Set<ExpertIndex>): void {
    peer.assigned = experts;
    if (peer.state === 'waiting' && peer.live.size === 0 && experts.size > 0) peer.state = 'loading';
    // Before the peer hears of it, so that no lap asks for what it is about to unload.
    for (const held of [peer.live, ...peer.tests]) {
      for (const expert of held) if (!experts.has(expert)) held.delete(expert);
    }
    peer.epoch = ++this.#assignments;
    const shards = [...experts]
      .sort((a, b) => a - b)
      .map((index) => this.ref(index))
      .map(({ layer, expert }) => ({ layer, expert, sha256: this.#options.shardHash(layer, expert) }));
    peer.control.assign({ epoch: peer.epoch, shards });
    this.#options.onAssigned(peer);
  }
}

/** Paused and draining peers keep what they have, and nobody counts on them. */
function takesPart(peer: PeerSession): boolean {
  return peer.connected && peer.state !== 'paused' && peer.state !== 'draining' && peer.state !== 'gone';
}

/**
 * With what was measured of it. Speed and trust go in coarse steps: a plan must not change because a figure trembles.
 */
function placementPeer(peer: PeerSession): PlacementPeer {
  const rttMs = peer.link?.stats().rttMs ?? undefined;
  const pairsPerSecond = peer.connected ? peer.laps.pairsPerSecond : undefined;
  return {
    ...peer.placementPeer(),
    ...(rttMs === undefined ? {} : { rttMs }),
    ...(pairsPerSecond === undefined ? {} : { rowsPerSecond: 2 ** Math.round(Math.log2(pairsPerSecond)) }),
    trust: Math.round((1 - peer.trust.auditShare) * TRUST_STEPS) / TRUST_STEPS,
  };
}

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
import { type Clock, systemClock } from '../base/clock.ts';
import type { ExpertRef } from './known-answer-test.ts';
import type { EventLog } from '../base/event-log.ts';
import { migrate } from './migration.ts';
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
 * The way from one placement to the next without a gap: peers grow into the new plan as far as their memory allows, and give
 * up what it takes from them when its new holders serve it (migration.ts).
 */
export class Rollout {
  plan: PlacementPlan = { epoch: 0, held: new Map() };
  /** A better place is known for some experts, but their bytes were not granted yet: planning again later goes on with it. */
  deferred = false;
  /** Experts that went without a replica for a while since start, because full peers had to exchange them. */
  uncoveredByMoves = 0;
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
    let plan = this.#planFor(able, false);
    if (plan.fetchedBytes > 0 && !mayFetch()) plan = this.#planFor(able, true);
    this.#allowance.spend(plan.movedBytes);
    this.plan = plan;
    this.deferred = plan.deferred;
    for (const peer of able) peer.target = new Set(this.plan.held.get(peer.peerId));
    this.#advance(true);
    // A swarm may have more tabs than work.
    for (const peer of able) if (peer.assigned.size === 0 && peer.state === 'loading') peer.state = 'waiting';
    const covered = new Set([...this.plan.held.values()].flat()).size;
    const all = model.layers.length * model.expertsPerLayer;
    events.add({
      level: covered < all ? 'warning' : 'info',
      kind: 'placement',
      text: `Placement ${this.plan.epoch}: ${covered} of ${all} experts on ${able.length} ${able.length === 1 ? 'tab' : 'tabs'}`,
    });
  }

  #planFor(able: readonly PeerSession[], keepOnly: boolean): PlacementResult {
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

  /** Peers have begun to serve: others may give up what these have taken over, and take in what they now have room for. */
  retire(): void {
    this.#advance(false);
  }

  /** Whether everything that a peer serves is served by all others that are to. */
  replaceable(peer: PeerSession): boolean {
    const heirs = this.#options.peers().filter((other) => other !== peer && takesPart(other));
    const planned = this.#planned();
    return [...peer.live].every(
      (expert) =>
        heirs.every((heir) => !heir.target.has(expert) || heir.live.has(expert)) &&
        (!planned.has(expert) || heirs.some((heir) => heir.live.has(expert))),
    );
  }

  ref(expert: ExpertIndex): ExpertRef {
    const { layers, expertsPerLayer } = this.#options.model;
    return { layer: layers[Math.floor(expert / expertsPerLayer)]!, expert: expert % expertsPerLayer };
  }

  #before(peer: PeerSession): readonly ExpertIndex[] {
    return peer.assigned.size > 0 ? [...peer.assigned] : this.#options.heldBefore(peer);
  }

  /** One step of everybody towards the plan. */
  #advance(replanned: boolean): void {
    const { model, peers, load } = this.#options;
    const able = peers().filter(takesPart);
    // Most tabs that begin to serve change nothing for the others, and a large swarm has many of them.
    if (!able.some(isUnderWay)) return;
    const planned = this.#planned();
    const rows = load?.();
    const { next, uncovered } = migrate({
      migrants: able.map((peer) => this.#migrant(peer)),
      expertsPerLayer: model.expertsPerLayer,
      load: (expert) => rows?.[expert] ?? 0,
      planned: (expert) => planned.has(expert),
      replanned,
      // Once a holder has left, the next plan is under way and may need no sacrifice.
      mayBreak: able.filter((peer) => this.plan.held.has(peer.peerId)).length === this.plan.held.size,
    });
    for (const [{ peer }, experts] of next) this.#assign(peer, experts);
    if (uncovered.length > 0) this.#reportUncovered(uncovered);
  }

  #migrant(peer: PeerSession) {
    const { pledgeBytes, maxExpertsPerLayer } = peer.placementPeer();
    const maxExperts = capacityInExperts(pledgeBytes, this.#options.model.shardBytes);
    return { peer, assigned: peer.assigned, live: peer.live, target: peer.target, maxExperts, maxExpertsPerLayer };
  }

  /** What the plan gives to anybody, whether or not they are still there. */
  #planned(): Set<ExpertIndex> {
    return new Set([...this.plan.held.values()].flat());
  }

  #reportUncovered(experts: readonly ExpertIndex[]): void {
    this.uncoveredByMoves += experts.length;
    const names = experts.map((index) => this.ref(index)).map(({ layer, expert }) => `${expert} of layer ${layer}`);
    const which = names.length === 1 ? `expert ${names[0]}` : `experts ${names.join(', ')}`;
    this.#options.events.add({
      level: 'warning',
      kind: 'placement',
      text: `Placement ${this.plan.epoch}: tabs without room for old and new have to exchange; the coordinator computes ${which} meanwhile`,
    });
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

/** Whether it holds, or was told to hold, anything but what the plan wants of it in the end. */
function isUnderWay({ assigned, target }: PeerSession): boolean {
  return assigned.size !== target.size || [...target].some((expert) => !assigned.has(expert));
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
  const assignmentsPerSecond = peer.connected ? peer.laps.assignmentsPerSecond : undefined;
  return {
    ...peer.placementPeer(),
    ...(rttMs === undefined ? {} : { rttMs }),
    ...(assignmentsPerSecond === undefined ? {} : { rowsPerSecond: 2 ** Math.round(Math.log2(assignmentsPerSecond)) }),
    trust: Math.round((1 - peer.trust.auditShare) * TRUST_STEPS) / TRUST_STEPS,
  };
}

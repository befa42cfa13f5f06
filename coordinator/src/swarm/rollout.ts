import {
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
import type { ExpertRef } from './known-answer-test.ts';
import { migrate, sameExperts } from './migration.ts';
import type { PeerSession } from './peer-session.ts';
import type { SwarmOptions } from './swarm-options.ts';

export interface RolloutOptions extends Pick<
  SwarmOptions,
  'shardHash' | 'replicas' | 'events' | 'load' | 'clock' | 'planner'
> {
  model: PlacementModel;
  peers: () => readonly PeerSession[];
  /** What the peer's tab held when it was last seen. */
  heldBefore: (peer: PeerSession) => readonly ExpertIndex[];
  /** An assignment was sent; the peer has to report progress from now on. */
  onAssigned: (peer: PeerSession) => void;
}

/** Steps of trust as the audited share falls: new, half known, known. */
const TRUST_STEPS = 2;

/** Moves the swarm from one placement to the next without a gap in service (migration.ts). */
export class Rollout {
  plan: PlacementPlan = { epoch: 0, held: new Map() };
  /** Whether the plan put off moves to stay within the byte budget; a later plan takes them up. */
  deferred = false;
  /** Experts that were temporarily without a replica because full peers had to exchange them, since startup. */
  uncoveredByMoves = 0;
  readonly #options: RolloutOptions;
  readonly #allowance = new MoveAllowance();
  #assignments = 0;

  constructor(options: RolloutOptions) {
    this.#options = options;
  }

  /** Makes a new plan and starts moving towards it. `mayFetch`: whether peers may download what they have not kept. */
  replan(mayFetch: () => boolean = () => true): void {
    const { model, events, peers } = this.#options;
    const able = peers().filter(takesPart);
    const mayOnlyKeep = (): boolean => !mayFetch();
    const doubts = doubtsOf(able);
    const plan = this.#planWithout(doubts, able, this.#planOnce(able, mayOnlyKeep), mayOnlyKeep);
    this.#allowance.spend(plan.movedBytes);
    this.plan = plan;
    this.deferred = plan.deferred;
    for (const peer of able)
      peer.target = new Set([...(plan.held.get(peer.peerId) ?? []), ...(doubts.get(peer) ?? [])]);
    this.advance(true);
    // A swarm may have more tabs than it needs.
    for (const peer of able) if (peer.assigned.size === 0) peer.apply('spare');
    const covered = new Set([...this.plan.held.values()].flat()).size;
    const all = model.layers.length * model.expertsPerLayer;
    events.add({
      level: covered < all ? 'warning' : 'info',
      kind: 'placement',
      text: `Placement ${this.plan.epoch}: ${covered} of ${all} experts on ${able.length} ${able.length === 1 ? 'tab' : 'tabs'}`,
    });
  }

  /** Changes whenever another plan is due because of doubtful holders. Empty while there are none. */
  get doubt(): string {
    const doubts = doubtsOf(this.#options.peers().filter(takesPart));
    return [...doubts].map(([{ peerId }, experts]) => `${peerId} ${experts.size}`).join();
  }

  #planOnce(able: readonly PeerSession[], mayOnlyKeep: () => boolean): PlacementResult {
    const { heldBefore } = this.#options;
    const held = new Map(
      able.map((peer) => [peer.peerId, peer.assigned.size > 0 ? [...peer.assigned] : heldBefore(peer)]),
    );
    const plan = this.#planFrom(held, able.map(placementPeer), false);
    return plan.fetchedBytes > 0 && mayOnlyKeep() ? this.#planFrom(held, able.map(placementPeer), true) : plan;
  }

  /**
   * The plan again, without counting on doubtful holders for what nobody serves: whoever has room left loads that too. They go
   * on loading it meanwhile. A plan that counted on nobody new to begin with would give every tab the same experts.
   */
  #planWithout(
    doubts: Doubts,
    able: readonly PeerSession[],
    plan: PlacementResult,
    mayOnlyKeep: () => boolean,
  ): PlacementResult {
    if (doubts.size === 0) return plan;
    const held = new Map(plan.held);
    const peers = able.map((peer) => {
      const doubted = doubts.get(peer);
      if (doubted === undefined) return placementPeer(peer);
      const rest = plan.held.get(peer.peerId)!.filter((expert) => !doubted.has(expert));
      held.set(peer.peerId, rest);
      // No room for more than what it is still counted on for.
      return { ...placementPeer(peer), pledgeBytes: pledgeFor(rest.length, this.#options.model.shardBytes) };
    });
    const again = this.#planFrom(held, peers, mayOnlyKeep(), plan.movedBytes);
    return { ...again, epoch: plan.epoch, movedBytes: plan.movedBytes + again.movedBytes };
  }

  #planFrom(
    held: ReadonlyMap<string, readonly ExpertIndex[]>,
    peers: readonly PlacementPeer[],
    keepOnly: boolean,
    movedBytes = 0,
  ): PlacementResult {
    const { model, replicas, load, clock = systemClock, planner = planPlacement } = this.#options;
    return planner(model, peers, {
      replicas,
      previous: { epoch: this.plan.epoch, held },
      maxMoveBytes: this.#allowance.at(clock.now()) - movedBytes,
      ...(load && { load: load() }),
      ...(keepOnly && { keepOnly }),
    });
  }

  /** Whether every expert that a peer serves is served by all peers that the plan gives it to. */
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

  shardHash(expert: ExpertIndex): string {
    const { layer, expert: number } = this.ref(expert);
    return this.#options.shardHash(layer, number);
  }

  /** Moves all peers one step towards the plan. When peers begin to serve, others may give up what these have taken over. */
  advance(replanned = false): void {
    const { model, peers, load } = this.#options;
    const able = peers().filter(takesPart);
    // Usually a tab that begins to serve changes nothing for the others; a large swarm has many tabs.
    if (able.every(({ assigned, target }) => sameExperts(assigned, target))) return;
    const planned = this.#planned();
    const rows = load?.();
    const { next, uncovered } = migrate({
      migrants: able,
      expertsPerLayer: model.expertsPerLayer,
      load: (expert) => rows?.[expert] ?? 0,
      planned: (expert) => planned.has(expert),
      replanned,
      // If a planned holder has left, the next plan is due and may not need to take any expert out of service.
      mayBreak: able.filter((peer) => this.plan.held.has(peer.peerId)).length === this.plan.held.size,
    });
    for (const [peer, experts] of next) this.#assign(peer, experts);
    if (uncovered.length > 0) this.#reportUncovered(uncovered);
  }

  /** Experts that the plan gives to any peer, including peers that have left. */
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
      text: `Placement ${this.plan.epoch}: full tabs have to exchange experts; the coordinator computes ${which} meanwhile`,
    });
  }

  #assign(peer: PeerSession, experts: Set<ExpertIndex>): void {
    peer.assigned = experts;
    if (peer.live.size === 0 && experts.size > 0) peer.apply('assign');
    // Before the assignment is sent, so that no lap asks for an expert that the peer is about to unload.
    for (const held of [peer.live, ...peer.tests]) {
      for (const expert of held) if (!experts.has(expert)) held.delete(expert);
    }
    peer.noteLoaded();
    peer.adapters?.fit();
    peer.epoch = ++this.#assignments;
    const shards = [...experts]
      .sort((a, b) => a - b)
      .map((index) => this.ref(index))
      .map(({ layer, expert }) => ({ layer, expert, sha256: this.#options.shardHash(layer, expert) }));
    peer.control.assign({ epoch: peer.epoch, shards });
    this.#options.onAssigned(peer);
  }
}

/** By peer that has not loaded its experts in time, those that nobody serves. */
type Doubts = ReadonlyMap<PeerSession, ReadonlySet<ExpertIndex>>;

function doubtsOf(able: readonly PeerSession[]): Doubts {
  const doubts = new Map<PeerSession, Set<ExpertIndex>>();
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

/** Paused and draining peers keep what they have, but the plan does not count on them. */
function takesPart(peer: PeerSession): boolean {
  return peer.connected && peer.state !== 'paused' && peer.state !== 'draining' && peer.state !== 'gone';
}

/** With measurements. Speed and trust are rounded to coarse steps, so that small fluctuations don't change the plan. */
function placementPeer(peer: PeerSession): PlacementPeer {
  const { peerId, donorId, hello, maxExpertsPerLayer } = peer;
  const rttMs = peer.link?.stats().rttMs ?? undefined;
  const assignmentsPerSecond = peer.connected ? peer.laps.assignmentsPerSecond : undefined;
  return {
    peerId,
    donorId,
    pledgeBytes: hello.pledgeBytes,
    maxExpertsPerLayer,
    ...(rttMs !== undefined && { rttMs }),
    ...(assignmentsPerSecond !== undefined && {
      assignmentsPerSecond: 2 ** Math.round(Math.log2(assignmentsPerSecond)),
    }),
    trust: Math.round((1 - peer.trust.auditShare) * TRUST_STEPS) / TRUST_STEPS,
  };
}

import type { Elsewhere, ExpertIndex, PlacementPlan } from '@shoal/placement';
import type { ExpertRef } from './known-answer-test.ts';
import { type Doubts, doubtsOf, PlanMaker, type PlanMakerOptions } from './make-plan.ts';
import { migrate, sameExperts } from './migration.ts';
import { PeerSession } from './peer-session.ts';
import type { PlannedTab } from './planned-tab.ts';
import type { SwarmOptions } from './swarm-options.ts';

export interface RolloutOptions
  extends Pick<SwarmOptions, 'shardHash' | 'events'>, Omit<PlanMakerOptions, 'heldBefore' | 'elsewhere' | 'load'> {
  peers: () => readonly PeerSession[];
  /** What the peer's tab held when it was last seen. */
  heldBefore: (peer: PeerSession) => readonly ExpertIndex[];
  /** An assignment was sent; the peer has to report progress from now on. */
  onAssigned: (peer: PeerSession) => void;
  /** [layers × expertsPerLayer] recent rows of each expert. */
  load?: (() => ArrayLike<number>) | undefined;
  /** Tabs of other members, whose homes carry out what is decided here; none by default. */
  guided?: Guided | undefined;
}

/** The tabs of other members, as a plan sees them. */
export interface Guided {
  /** Those that this coordinator plans for. */
  tabs(): Iterable<GuidedTab>;
  /** What the others hold. */
  elsewhere(): Elsewhere;
}

/** A remote tab that follows this coordinator's plan. */
export interface GuidedTab extends PlannedTab {
  /** What its browser has kept. */
  readonly kept: readonly ExpertIndex[];
  /** Its home is to assign it this. */
  assign(experts: Set<ExpertIndex>): void;
}

type AnyTab = PeerSession | GuidedTab;

/** Moves the swarm from one placement to the next without a gap in service (migration.ts). */
export class Rollout {
  plan: PlacementPlan = { epoch: 0, held: new Map() };
  /** Whether the plan put off moves to stay within the byte budget; a later plan takes them up. */
  deferred = false;
  /** Experts that were temporarily without a replica because full peers had to exchange them, since startup. */
  uncoveredByMoves = 0;
  readonly #options: RolloutOptions;
  readonly #maker: PlanMaker;
  /** Experts that tabs held which the newest plan could not count among its own. */
  #elsewhere: Elsewhere['replicas'] = new Map();
  #assignments = 0;

  constructor(options: RolloutOptions) {
    this.#options = options;
    const { heldBefore, guided } = options;
    this.#maker = new PlanMaker({
      ...options,
      heldBefore: (tab) => (tab instanceof PeerSession ? heldBefore(tab) : (tab as GuidedTab).kept),
      elsewhere: guided && (() => this.#seeElsewhere(guided.elsewhere())),
    });
  }

  /** Makes a new plan and starts moving towards it. `mayFetch`: whether peers may download what they have not kept. */
  replan(mayFetch: () => boolean = () => true): void {
    const { model, events } = this.#options;
    const able = this.#able();
    const doubts = doubtsOf(able);
    const plan = this.#maker.plan({ able, before: this.plan, doubts, mayFetch });
    this.plan = plan;
    this.deferred = plan.deferred;
    for (const tab of able) tab.target = new Set([...(plan.held.get(tab.peerId) ?? []), ...(doubts.get(tab) ?? [])]);
    this.advance(true);
    // A swarm may have more tabs than it needs.
    for (const tab of able) if (tab instanceof PeerSession && tab.assigned.size === 0) tab.apply('spare');
    const covered = this.#planned().size;
    const all = model.layers.length * model.expertsPerLayer;
    events.add({
      level: covered < all ? 'warning' : 'info',
      kind: 'placement',
      text: `Placement ${this.plan.epoch}: ${covered} of ${all} experts on ${able.length} ${able.length === 1 ? 'tab' : 'tabs'}`,
    });
  }

  /** The plans of others count as plans before its own. */
  continueFrom(epoch: number): void {
    if (epoch > this.plan.epoch) this.plan = { ...this.plan, epoch };
  }

  /** Changes whenever another plan is due because of doubtful holders. Empty while there are none. */
  get doubt(): string {
    const doubts: Doubts = doubtsOf(this.#able());
    return [...doubts].map(([{ peerId }, experts]) => `${peerId} ${experts.size}`).join();
  }

  /** Whether every expert that a tab serves is served by all tabs that the plan gives it to. */
  replaceable(tab: PlannedTab): boolean {
    const heirs = this.#able().filter((other) => other !== tab);
    const planned = this.#planned();
    return [...tab.live].every(
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

  /** Moves all tabs one step towards the plan. When tabs begin to serve, others may give up what these have taken over. */
  advance(replanned = false): void {
    const { model, load } = this.#options;
    const able = this.#able();
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
      mayBreak: able.filter(({ peerId }) => this.plan.held.has(peerId)).length === this.plan.held.size,
    });
    for (const [tab, experts] of next) {
      if (tab instanceof PeerSession) this.assign(tab, experts);
      else tab.assign(experts);
    }
    if (uncovered.length > 0) this.#reportUncovered(uncovered);
  }

  /** Sends an own tab another assignment. */
  assign(peer: PeerSession, experts: Set<ExpertIndex>): void {
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

  #able(): AnyTab[] {
    const { peers, guided } = this.#options;
    const able: AnyTab[] = peers().filter((peer) => peer.takesPart);
    for (const tab of guided?.tabs() ?? []) if (tab.takesPart) able.push(tab);
    return able;
  }

  #seeElsewhere(elsewhere: Elsewhere): Elsewhere {
    this.#elsewhere = elsewhere.replicas;
    return elsewhere;
  }

  /** Experts that are on any tab by the plan, including tabs that have left and those that it does not plan for. */
  #planned(): Set<ExpertIndex> {
    const planned = new Set([...this.plan.held.values()].flat());
    for (const expert of this.#elsewhere.keys()) planned.add(expert);
    return planned;
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
}

import type { ExpertIndex, PlacementPlan } from '@shoal/placement';
import type { Clock } from '../base/clock.ts';
import type { RemoteTab } from '../cluster/tab-board.ts';
import type { TabOrder } from '../cluster/tab-orders.ts';
import { ClusterLoad } from './cluster-load.ts';
import { Guidance } from './guidance.ts';
import { sameExperts } from './migration.ts';
import type { PeerSession } from './peer-session.ts';
import type { PlannedTab } from './planned-tab.ts';
import { type PlanningRole, Role } from './planning-role.ts';
import { PublishedTabs } from './published-tabs.ts';
import type { Rollout } from './rollout.ts';
import type { SwarmCluster } from './swarm-cluster.ts';
import type { SwarmTimings } from './swarm-options.ts';

export interface ClusterPlanningOptions {
  cluster: SwarmCluster;
  clock: Clock;
  timings: SwarmTimings;
  numExperts: number;
  /** [numExperts] recent rows of own answers. */
  load?: (() => ArrayLike<number>) | undefined;
  peers: () => readonly PeerSession[];
  heldBefore: (peer: PeerSession) => readonly ExpertIndex[];
  rollout: () => Rollout;
  planSoon: (delayMs: number) => void;
  advance: () => void;
  /** A newer visit of the tab is another member's. */
  onReplaced: (peer: PeerSession) => void;
}

/**
 * One plan for the tabs of all coordinators. The leader decides, for each tab, what it is to hold at every step, as a coordinator
 * alone does for its own; a home tells the others how its tabs are, and carries out the leader's orders. So there is one who
 * lets a tab give up an expert, and it counts on no replica that anybody else may take away.
 */
export class ClusterPlanning {
  readonly guidance: Guidance;
  readonly #options: ClusterPlanningOptions;
  readonly #role: Role;
  readonly #tabs: PublishedTabs;
  readonly #load: ClusterLoad | undefined;
  #hasPlan = false;

  constructor(options: ClusterPlanningOptions) {
    this.#options = options;
    const { cluster, clock, numExperts, load } = options;
    const { board, orders, members } = cluster;
    this.#role = new Role({
      cluster,
      clock,
      onHome: (view) => board.publishHome(view),
      onChange: (role) => this.#roleChanged(role),
    });
    const { timings, planSoon, advance } = options;
    const role = (): Role => this.#role;
    this.guidance = new Guidance({ members, board, orders, timings, role, planSoon, onRead: advance });
    this.#tabs = new PublishedTabs({ board, heldBefore: options.heldBefore, onReplaced: options.onReplaced });
    this.#load = load && new ClusterLoad({ cluster, numExperts, own: load, now: () => clock.now() });
    orders.events.on('orders', this.#carryOut);
  }

  /** Begins to take part, once all that it calls is there. */
  start(): void {
    this.#role.look();
  }

  /** Whether this coordinator plans, for its own tabs at least. */
  get plans(): boolean {
    return this.#role.now === 'alone' || this.#role.now === 'leads';
  }

  /** Whether it has made a plan since it began to: what tabs hold by another's plan says nothing about where experts go. */
  get hasPlan(): boolean {
    return this.plans && this.#hasPlan;
  }

  /** [numExperts] recent rows of all members' answers; undefined if they aren't counted. */
  get load(): (() => ArrayLike<number>) | undefined {
    const load = this.#load;
    return load && (() => load.all());
  }

  /** The plan that its tabs follow, as far as it is known here: its number, if another has made it. */
  get followed(): PlacementPlan | undefined {
    return this.#role.now === 'follows' ? { epoch: this.#options.cluster.orders.epoch, held: new Map() } : undefined;
  }

  /** What is in the plan, or on the way to it, has changed. */
  decided(isReplaced: (tab: PlannedTab) => boolean, replanned = false): void {
    this.#hasPlan ||= replanned;
    if (this.#role.now !== 'leads') return;
    this.guidance.release(isReplaced);
    this.guidance.send(this.#options.rollout().plan.epoch, replanned);
  }

  joined(peer: PeerSession): void {
    this.#tabs.add(peer);
  }

  left(peer: PeerSession): void {
    this.#tabs.end(peer);
  }

  /** The tabs of other members that are given laps by any. */
  *serving(): Iterable<RemoteTab> {
    for (const tab of this.#options.cluster.board.remote()) if (isServing(tab)) yield tab;
  }

  /** The newest visit of a tab elsewhere. */
  elsewhere(donorId: string, tab: number): RemoteTab | undefined {
    return this.#options.cluster.board.ofTab(donorId, tab);
  }

  /** Tabs that other members have let in. */
  get numRemote(): number {
    let count = 0;
    for (const { isHomeless } of this.#options.cluster.board.remote()) if (!isHomeless) count++;
    return count;
  }

  get numMembers(): number {
    return this.#options.cluster.members.alive().length;
  }

  /** Called once a second. */
  tick(): void {
    if (this.numMembers < 2) return;
    this.#tabs.tick();
    this.#load?.tick();
    this.guidance.tick();
  }

  close(): void {
    this.#options.cluster.orders.events.off('orders', this.#carryOut);
    this.#role.close();
    this.guidance.close();
    this.#tabs.close();
    this.#load?.close();
  }

  #roleChanged(role: PlanningRole): void {
    const { cluster, rollout, planSoon, timings } = this.#options;
    this.guidance.reset();
    this.#hasPlan = false;
    if (role !== 'alone' && role !== 'leads') return;
    rollout().continueFrom(cluster.orders.epoch);
    if (this.#options.peers().length > 0 || this.numMembers > 1) planSoon(timings.joinDelayMs);
  }

  readonly #carryOut = (orders: readonly TabOrder[]): void => {
    if (this.plans) return;
    const peers = new Map(this.#options.peers().map((peer) => [peer.peerId, peer]));
    const rollout = this.#options.rollout();
    for (const { peerId, regime, number, assigned, target } of orders) {
      const peer = peers.get(peerId);
      if (!peer || regime !== this.#role.regime || number <= peer.order) continue;
      peer.order = number;
      if (peer.takesPart) {
        peer.target = new Set(target);
        if (!sameExperts(peer.assigned, assigned)) rollout.assign(peer, new Set(assigned));
        if (assigned.size === 0) peer.apply('spare');
      } else if (peer.state === 'draining' && assigned.size === 0) peer.live.clear();
      // Also where the order comes too late for a tab that was paused meanwhile: its home has read it.
      peer.onChange();
    }
  };
}

const SERVING: ReadonlySet<RemoteTab['state']> = new Set(['waiting', 'working', 'draining']);

function isServing({ state, live }: RemoteTab): boolean {
  return SERVING.has(state) && live.size > 0;
}

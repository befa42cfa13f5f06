import type { Elsewhere } from '@shoal/placement';
import type { Cluster } from '../cluster/cluster.ts';
import type { RemoteTab, TabBoard } from '../cluster/tab-board.ts';
import { orderNumber, type TabOrder, type TabOrders } from '../cluster/tab-orders.ts';
import { RemotePlannedTab } from './guided-tab.ts';
import { takesPart } from './planned-tab.ts';
import type { Role } from './planning-role.ts';
import type { Guided } from './rollout.ts';
import type { SwarmTimings } from './swarm-options.ts';

export interface GuidanceOptions {
  members: Cluster['members'];
  board: TabBoard;
  orders: TabOrders;
  timings: SwarmTimings;
  role: () => Role;
  /** Another plan is due. */
  planSoon: (delayMs: number) => void;
  /** Remote tabs have changed: others may give up what these have taken over. */
  onRead: () => void;
}

/** The leader's view of remote tabs, and its orders to their homes. Every other coordinator knows remote tabs only as being elsewhere. */
export class Guidance implements Guided {
  readonly #options: GuidanceOptions;
  readonly #tabs = new Map<string, RemotePlannedTab>();
  /** Orders to write, the newest for each tab. */
  readonly #unwritten = new Map<string, TabOrder>();
  /** Those of a write that is under way. */
  #writing = false;
  #numOrders = 0;
  #epoch = 0;

  constructor(options: GuidanceOptions) {
    this.#options = options;
    options.board.events.on('changed', this.#changed).on('gone', this.#gone).on('read', this.#read);
  }

  /** Starts or stops to lead. */
  reset(): void {
    this.#tabs.clear();
    this.#unwritten.clear();
    this.#numOrders = 0;
    this.#look();
  }

  tabs(): Iterable<RemotePlannedTab> {
    return this.#tabs.values();
  }

  elsewhere(): Elsewhere {
    const replicas = new Map<number, number>();
    const donors = new Set<string>();
    for (const tab of this.#options.board.remote()) {
      if (this.#tabs.has(tab.peerId) || !takesPart(tab) || tab.assigned.size === 0) continue;
      donors.add(tab.donorId);
      for (const expert of tab.assigned) replicas.set(expert, (replicas.get(expert) ?? 0) + 1);
    }
    return { replicas, donors: donors.size };
  }

  /** Sends the homes what was decided since. `replanned`: tabs without an order get one, which says that they are in the plan. */
  send(epoch: number, replanned = false): void {
    const { term } = this.#options.role();
    if (term === undefined) return;
    this.#epoch = epoch;
    for (const tab of this.#tabs.values()) {
      const order = tab.order(orderNumber(term, this.#numOrders + 1), replanned && tab.takesPart);
      if (order === undefined) continue;
      this.#numOrders++;
      this.#unwritten.set(order.peerId, order);
    }
    void this.#write(term);
  }

  /** Tells the homes of draining tabs that others serve all of their experts. */
  release(isReplaced: (tab: RemotePlannedTab) => boolean): void {
    for (const tab of this.#tabs.values()) {
      if (tab.view.state === 'draining' && tab.live.size > 0 && isReplaced(tab)) tab.assign(new Set());
    }
  }

  /** Called once a second: what could not be written is written again. */
  tick(): void {
    const { term } = this.#options.role();
    if (term === undefined) return;
    this.#look();
    void this.#write(term);
  }

  close(): void {
    this.#options.board.events.off('changed', this.#changed).off('gone', this.#gone).off('read', this.#read);
    this.reset();
  }

  readonly #changed = (view: RemoteTab): void => {
    const { planSoon, timings } = this.#options;
    const known = this.#tabs.get(view.peerId);
    const regime = this.#regimeOf(view);
    if (known === undefined || known.regime !== regime) return this.#guide(view, regime);
    const [before, now] = [known.view, view];
    known.update(view);
    if (takesPart(now) && !takesPart(before)) planSoon(timings.joinDelayMs);
    if (takesPart(before) && !takesPart(now)) planSoon(now.state === 'draining' ? 0 : timings.leaveDelayMs);
  };

  readonly #gone = ({ peerId }: RemoteTab): void => {
    this.#tabs.delete(peerId);
    this.#unwritten.delete(peerId);
    if (this.#leads) this.#options.planSoon(this.#options.timings.leaveDelayMs);
  };

  readonly #read = (): void => {
    if (!this.#leads) return;
    this.#look();
    this.#options.onRead();
  };

  get #leads(): boolean {
    return this.#options.role().now === 'leads';
  }

  /** The regime in which the tab's home follows this leader; undefined if it doesn't. */
  #regimeOf({ home, isHomeless }: RemoteTab): number | undefined {
    const { board, members } = this.#options;
    if (!this.#leads || isHomeless) return undefined;
    const view = board.home(home);
    return view?.follows === members.self.id ? view.regime : undefined;
  }

  #guide(view: RemoteTab, regime: number | undefined): void {
    this.#unwritten.delete(view.peerId);
    if (regime === undefined) return void this.#tabs.delete(view.peerId);
    this.#tabs.set(view.peerId, new RemotePlannedTab(view, regime));
    if (takesPart(view)) this.#options.planSoon(this.#options.timings.joinDelayMs);
  }

  /** Looks who follows, and takes up the tabs of homes that have begun to, or have begun again. */
  #look(): void {
    if (!this.#leads) return;
    for (const view of this.#options.board.remote()) {
      const regime = this.#regimeOf(view);
      if (this.#tabs.get(view.peerId)?.regime !== regime) this.#guide(view, regime);
    }
  }

  /** One write at a time, so that orders come in their order. */
  async #write(term: number): Promise<void> {
    if (this.#writing || this.#unwritten.size === 0) return;
    this.#writing = true;
    const batch = [...this.#unwritten.values()];
    try {
      // Refused, if another leads by now: this member hears of it in a moment.
      if (!(await this.#options.orders.write(term, this.#epoch, batch))) return;
      for (const order of batch) if (this.#unwritten.get(order.peerId) === order) this.#unwritten.delete(order.peerId);
    } catch {
      // The database is away: `tick` writes again while this member still leads.
      return;
    } finally {
      this.#writing = false;
    }
    if (this.#options.role().term === term) await this.#write(term);
  }
}

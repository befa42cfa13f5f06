import { EventEmitter } from 'node:events';
import type { HomeView, RemoteTab, TabBoard, TabView } from './tab-board.ts';

/** The remote tabs that a member knows: of the visits of each (donorId, tab), the newest. */
export class KnownTabs implements Pick<TabBoard, 'remote' | 'of' | 'ofTab' | 'home' | 'events'> {
  readonly events: TabBoard['events'] = new EventEmitter();
  /** All published visits by peerId, older ones of the same tab too. */
  readonly #visits = new Map<string, RemoteTab>();
  /** PeerIds of the visits of each tab. */
  readonly #ofTab = new Map<string, Set<string>>();
  /** The newest visit of each tab. */
  readonly #newest = new Map<string, RemoteTab>();
  readonly #homes = new Map<string, HomeView>();

  remote(): Iterable<RemoteTab> {
    return this.#newest.values();
  }

  of(peerId: string): RemoteTab | undefined {
    const visit = this.#visits.get(peerId);
    return visit && this.#newest.get(keyOf(visit)) === visit ? visit : undefined;
  }

  ofTab(donorId: string, tab: number): RemoteTab | undefined {
    return this.#newest.get(keyOf({ donorId, tab }));
  }

  home(member: string): HomeView | undefined {
    return this.#homes.get(member);
  }

  setHome(member: string, view: HomeView): void {
    this.#homes.set(member, view);
  }

  /** A home has published this. */
  set(home: string, view: TabView): void {
    this.#set({ ...view, home, isHomeless: false });
  }

  /** A visit is over. */
  delete(peerId: string): void {
    const visit = this.#visits.get(peerId);
    if (visit === undefined) return;
    this.#visits.delete(peerId);
    const key = keyOf(visit);
    const visits = this.#ofTab.get(key)!;
    visits.delete(peerId);
    if (visits.size === 0) this.#ofTab.delete(key);
    this.#choose(key);
  }

  /** A member has ended. Its tabs stay for a while, without a home. */
  loseHome(home: string): void {
    this.#homes.delete(home);
    for (const visit of this.#visits.values()) if (visit.home === home) this.#set({ ...visit, isHomeless: true });
  }

  /** PeerIds of what a member has published. */
  publishedBy(home: string): string[] {
    return [...this.#visits.values()].filter((visit) => visit.home === home).map(({ peerId }) => peerId);
  }

  /** Forgets the tabs that a member has left without a home. */
  forget(home: string): void {
    for (const visit of this.#visits.values()) if (visit.home === home && visit.isHomeless) this.delete(visit.peerId);
  }

  #set(visit: RemoteTab): void {
    const key = keyOf(visit);
    this.#visits.set(visit.peerId, visit);
    const visits = this.#ofTab.get(key) ?? new Set();
    this.#ofTab.set(key, visits.add(visit.peerId));
    this.#choose(key);
  }

  /** Finds the newest visit of a tab again, and reports what has changed. */
  #choose(key: string): void {
    const before = this.#newest.get(key);
    const visits = [...(this.#ofTab.get(key) ?? [])].map((peerId) => this.#visits.get(peerId)!);
    const newest = visits.reduce<RemoteTab | undefined>((a, b) => (a && isNewer(a, b) ? a : b), undefined);
    if (newest === before) return;
    if (newest) this.#newest.set(key, newest);
    else this.#newest.delete(key);
    if (before && before.peerId !== newest?.peerId) this.events.emit('gone', before);
    if (newest) this.events.emit('changed', newest);
  }
}

/**
 * Whether one visit of a tab is newer than another. Members' clocks are not comparable, so visits are counted; only two that began
 * within the time of one reading have the same number.
 */
export function isNewer(a: Pick<RemoteTab, 'visit' | 'peerId'>, b: Pick<RemoteTab, 'visit' | 'peerId'>): boolean {
  return a.visit === b.visit ? a.peerId > b.peerId : a.visit > b.visit;
}

const keyOf = ({ donorId, tab }: Pick<TabView, 'donorId' | 'tab'>): string => `${donorId} ${tab}`;

import { MAX_TAB_LINKS, type Seek, type SeekReply, type TabFault } from '@shoal/protocol';

/** A tab whose donor agrees to exchange shards. */
export interface TrackedTab {
  readonly peerId: string;
  readonly donorId: string;
}

export interface ShardTrackerOptions {
  /** First digits of the SHA-256 of every shard of the model, as tabs name them. */
  names: ReadonlySet<string>;
  shardBytes: number;
  nowMs: () => number;
  /** Opens a connection between two tabs, or closes it. */
  link: (a: string, b: string) => void;
  unlink: (a: string, b: string) => void;
  /** A tab that others complained about gives no more in this visit. */
  onDistrusted: (tab: TrackedTab, fault: TabFault) => void;
}

/** What one tab may be told to fetch from the coordinator, and from one other tab, before it says what has come of it. */
const AHEAD_BYTES = 8 * 2 ** 20;
const MIN_AHEAD_SHARDS = 2;
/** After which another tab may be told to fetch the same: a tab on a slow line, or one that has given up silently. */
const LEASE_MS = 30_000;
/** After which a tab no longer waits for a busy one. */
const PATIENCE_MS = 10_000;
/** A tab leaves another one alone for so long after a fault. */
const AVOID_MS = 600_000;
/** Donors that must complain before a tab gives no more: what one says is its word alone. */
const COMPLAINTS = 3;
/** Other tabs that one may be introduced to, whose addresses it learns: at once and an hour. */
const INTRODUCTIONS = { atOnce: 2 * MAX_TAB_LINKS, perMs: 32 / 3_600_000 };
/** A link that carries nothing for so long makes way for another. */
const IDLE_LINK_MS = 20_000;

interface Lease {
  untilMs: number;
  /** The tab that gives; undefined: the coordinator. */
  giver: Member | undefined;
}

interface Member {
  tab: TrackedTab;
  has: Set<string>;
  /** What it has been told to fetch, by name. */
  leases: Map<string, Lease>;
  /** Since when it wants what nobody could give it. */
  wantsSinceMs: Map<string, number>;
  /** Shards that it has been told to give, to all others. */
  giving: number;
  avoids: Map<string, number>;
  /** Other members, and when a shard was last to come over the link. */
  links: Map<Member, number>;
  complainants: Set<string>;
  introductions: { level: number; atMs: number };
}

/**
 * Knows which tab has which shards, and tells each where to get what it lacks: from a tab that has it and is least busy; from the
 * coordinator if no tab has it or is fetching it; else later. So each shard leaves the coordinator about once, and tabs that join
 * together fetch different ones first.
 */
export class ShardTracker {
  readonly #options: ShardTrackerOptions;
  readonly #members = new Map<string, Member>();
  readonly #holders = new Map<string, Set<Member>>();
  /** Who is fetching a shard from the coordinator. */
  readonly #fetching = new Map<string, Member>();
  readonly #ahead: number;

  constructor(options: ShardTrackerOptions) {
    this.#options = options;
    this.#ahead = Math.max(MIN_AHEAD_SHARDS, Math.floor(AHEAD_BYTES / options.shardBytes));
  }

  get members(): number {
    return this.#members.size;
  }

  join(tab: TrackedTab): void {
    this.#members.set(tab.peerId, {
      tab,
      has: new Set(),
      leases: new Map(),
      wantsSinceMs: new Map(),
      giving: 0,
      avoids: new Map(),
      links: new Map(),
      complainants: new Set(),
      introductions: { level: INTRODUCTIONS.atOnce, atMs: this.#options.nowMs() },
    });
  }

  leave(peerId: string): void {
    const member = this.#members.get(peerId);
    if (!member) return;
    this.#members.delete(peerId);
    for (const name of member.leases.keys()) this.#release(member, name);
    for (const name of member.has) this.#holders.get(name)?.delete(member);
    for (const other of member.links.keys()) this.#unlink(member, other);
    for (const other of this.#members.values()) {
      other.avoids.delete(peerId);
      for (const [name, lease] of other.leases) if (lease.giver === member) this.#release(other, name);
    }
  }

  /** Whether one tab may signal to another: both have been told of their link. */
  areLinked(a: string, b: string): boolean {
    const [from, to] = [this.#members.get(a), this.#members.get(b)];
    return from !== undefined && to !== undefined && from.links.has(to);
  }

  seek(peerId: string, { have, wanted, faults }: Seek): SeekReply {
    const member = this.#members.get(peerId);
    if (!member) return { routes: [] };
    for (const name of have) this.#take(member, name);
    for (const fault of faults) this.#complain(member, fault);
    for (const name of member.wantsSinceMs.keys()) if (!wanted.includes(name)) member.wantsSinceMs.delete(name);
    const routes: SeekReply['routes'] = [];
    for (const shard of new Set(wanted)) {
      if (!this.#options.names.has(shard) || member.has.has(shard)) continue;
      const route = this.#route(member, shard);
      if (route === 'wait') continue;
      member.wantsSinceMs.delete(shard);
      routes.push({ shard, ...(route && { tab: route.tab.peerId }) });
    }
    return { routes };
  }

  #take(member: Member, name: string): void {
    if (!this.#options.names.has(name)) return;
    this.#release(member, name);
    member.has.add(name);
    const holders = this.#holders.get(name) ?? new Set();
    this.#holders.set(name, holders.add(member));
  }

  /** A tab to get a shard from, or undefined for the coordinator. */
  #route(member: Member, name: string): Member | 'wait' | undefined {
    const nowMs = this.#options.nowMs();
    // Asked again: what it was told has come to nothing.
    this.#release(member, name);
    const giver = this.#giverOf(member, name, nowMs);
    if (giver) {
      giver.giving++;
      giver.links.set(member, nowMs);
      member.links.set(giver, nowMs);
      return this.#lease(member, name, giver, nowMs);
    }
    const sinceMs = member.wantsSinceMs.get(name) ?? nowMs;
    member.wantsSinceMs.set(name, sinceMs);
    if (nowMs - sinceMs < PATIENCE_MS) {
      const fetching = this.#fetching.get(name);
      if (fetching && fetching.leases.get(name)!.untilMs > nowMs) return 'wait';
      if (this.#mayGive(member, name, nowMs)) return 'wait';
      const own = [...member.leases.values()].filter(({ giver: from }) => from === undefined).length;
      if (own >= this.#ahead) return 'wait';
    }
    this.#fetching.set(name, member);
    return this.#lease(member, name, undefined, nowMs);
  }

  #lease(member: Member, name: string, giver: Member | undefined, nowMs: number): Member | undefined {
    member.leases.set(name, { untilMs: nowMs + LEASE_MS, giver });
    return giver;
  }

  #release(member: Member, name: string): void {
    const lease = member.leases.get(name);
    if (!lease) return;
    member.leases.delete(name);
    if (lease.giver) lease.giver.giving--;
    else if (this.#fetching.get(name) === member) this.#fetching.delete(name);
  }

  #holdersFor(member: Member, name: string, nowMs: number): Member[] {
    return [...(this.#holders.get(name) ?? [])].filter(
      (holder) => !this.#isDistrusted(holder) && (member.avoids.get(holder.tab.peerId) ?? 0) <= nowMs,
    );
  }

  /** Whether somebody has it who is only too busy now. */
  #mayGive(member: Member, name: string, nowMs: number): boolean {
    return this.#holdersFor(member, name, nowMs).some(
      (holder) => holder.links.has(member) || this.#hasRoom(holder, nowMs),
    );
  }

  /** The least busy of those that have a shard and can be reached, those first that are linked already. */
  #giverOf(member: Member, name: string, nowMs: number): Member | undefined {
    const free = this.#holdersFor(member, name, nowMs).filter(({ giving }) => giving < this.#ahead);
    const cost = (holder: Member): number => holder.giving + (member.links.has(holder) ? 0 : MIN_AHEAD_SHARDS);
    for (const holder of free.toSorted((a, b) => cost(a) - cost(b))) {
      if (member.links.has(holder) || this.#introduce(member, holder, nowMs)) return holder;
    }
    return undefined;
  }

  #introduce(member: Member, holder: Member, nowMs: number): boolean {
    if (!this.#makeRoom(member, nowMs) || !this.#makeRoom(holder, nowMs)) return false;
    // Both learn an address.
    for (const one of [member, holder]) one.introductions.level--;
    member.links.set(holder, nowMs);
    holder.links.set(member, nowMs);
    this.#options.link(member.tab.peerId, holder.tab.peerId);
    return true;
  }

  #hasRoom(member: Member, nowMs: number): boolean {
    const { introductions } = member;
    introductions.level = Math.min(
      INTRODUCTIONS.atOnce,
      introductions.level + (nowMs - introductions.atMs) * INTRODUCTIONS.perMs,
    );
    introductions.atMs = nowMs;
    if (introductions.level < 1) return false;
    return member.links.size < MAX_TAB_LINKS || this.#idleLink(member, nowMs) !== undefined;
  }

  #makeRoom(member: Member, nowMs: number): boolean {
    if (!this.#hasRoom(member, nowMs)) return false;
    const idle = member.links.size < MAX_TAB_LINKS ? undefined : this.#idleLink(member, nowMs);
    if (idle) this.#unlink(member, idle);
    return true;
  }

  #idleLink(member: Member, nowMs: number): Member | undefined {
    return [...member.links].find(([, usedMs]) => nowMs - usedMs > IDLE_LINK_MS)?.[0];
  }

  #unlink(a: Member, b: Member): void {
    if (!a.links.delete(b)) return;
    b.links.delete(a);
    this.#options.unlink(a.tab.peerId, b.tab.peerId);
  }

  #complain(member: Member, { tab, shard, fault }: Seek['faults'][number]): void {
    const other = this.#members.get(tab);
    // Only about those that it was told to ask.
    if (!other || member.leases.get(shard)?.giver !== other) return;
    this.#release(member, shard);
    if (fault === 'lacking') {
      other.has.delete(shard);
      this.#holders.get(shard)?.delete(other);
      return;
    }
    member.avoids.set(tab, this.#options.nowMs() + AVOID_MS);
    this.#unlink(member, other);
    // A line between two tabs may be blocked by either one's network.
    if (fault === 'unreachable' || this.#isDistrusted(other)) return;
    other.complainants.add(member.tab.donorId);
    if (this.#isDistrusted(other)) this.#options.onDistrusted(other.tab, fault);
  }

  #isDistrusted({ complainants }: Member): boolean {
    return complainants.size >= COMPLAINTS;
  }
}

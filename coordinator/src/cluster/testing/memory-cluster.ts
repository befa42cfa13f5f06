import { EventEmitter } from 'node:events';
import type { BusKind, BusMessages } from '../bus-messages.ts';
import {
  ALL,
  type Bus,
  type BusEvents,
  type Cluster,
  type Lease,
  type LeaseEvents,
  type Members,
  type MembersEvents,
  type MemberView,
} from '../cluster.ts';
import { Handlers } from '../handlers.ts';

/**
 * Clusters without a database, for unit tests: messages arrive in a microtask, and the first member leads. What takes time in
 * truth, until a member is declared dead and until another takes its lease, is over when the test calls `expire`.
 */
export class MemoryCluster {
  readonly members: MemoryMember[] = [];
  #leader: MemoryMember | undefined;
  #term = 0;

  constructor(members: number) {
    for (let i = 0; i < members; i++) this.add();
  }

  /** Starts another member, which the others know at once. */
  add(): MemoryMember {
    const n = this.members.length + 1;
    const id = `c-${n.toString(16).padStart(8, '0')}`;
    const self = { id, name: `host-${n}:8787`, address: '127.0.0.1', version: '0.0.0', sinceMs: n };
    const member = new MemoryMember(self, this);
    this.members.push(member);
    this.expire();
    return member;
  }

  /** Lets so much time pass that the living know who is dead or cut, and one of them leads. */
  expire(): void {
    const alive = this.members.filter(({ isReachable }) => isReachable);
    for (const member of alive) member.members.see(alive.map(({ members }) => members.self));
    if (this.#leader?.isReachable !== true && alive.length > 0) {
      this.#leader = alive[0]!;
      this.#term++;
    }
    for (const member of alive) member.lease.set(this.#leader!.members.self.id, this.#term);
  }

  deliver(from: MemoryMember, to: string, kind: BusKind, message: unknown): void {
    if (!from.isReachable) return;
    const { id } = from.members.self;
    // As text, so that members share nothing.
    const text = JSON.stringify(message);
    for (const member of this.members) {
      if (member === from || (to !== ALL && to !== member.members.self.id)) continue;
      queueMicrotask(() => member.isReachable && member.bus.handlers.handle(kind, id, JSON.parse(text)));
    }
  }
}

/** One member of a MemoryCluster, with what a test does to it. */
export class MemoryMember implements Cluster {
  readonly key = '0123456789abcdef-q8';
  readonly members: MemoryMembers;
  readonly bus: MemoryBus;
  readonly lease: MemoryLease;
  readonly #cluster: MemoryCluster;
  #state: 'alive' | 'cut' | 'dead' = 'alive';

  constructor(self: MemberView, cluster: MemoryCluster) {
    this.#cluster = cluster;
    this.members = new MemoryMembers(self, () => this.#state === 'cut');
    this.lease = new MemoryLease(self.id);
    this.bus = new MemoryBus(self.id, (to, kind, message) => cluster.deliver(this, to, kind, message));
  }

  get isReachable(): boolean {
    return this.#state === 'alive';
  }

  get isDead(): boolean {
    return this.#state === 'dead';
  }

  /** Ends it without a word, as kill -9 does. The others know after `MemoryCluster.expire`. */
  kill(): void {
    this.#state = 'dead';
    this.lease.set(undefined, 0);
  }

  /** Takes its database away. It stops leading; the others know after `MemoryCluster.expire`. */
  cut(): void {
    this.#state = 'cut';
    this.lease.set(undefined, 0);
    this.members.events.emit('cut');
  }

  /** Gives its database back, after which all know each other. */
  mend(): void {
    const others = this.#cluster.members.filter((other) => other !== this && other.isReachable);
    const { id } = this.members.self;
    const isForgotten = others.some(({ members }) => !members.alive().some((member) => member.id === id));
    this.#state = 'alive';
    this.members.events.emit('mended');
    this.#cluster.expire();
    this.bus.events.emit('missed');
    if (isForgotten) this.members.events.emit('returned');
  }

  close(): Promise<void> {
    this.kill();
    this.#cluster.expire();
    return Promise.resolve();
  }
}

class MemoryMembers implements Members {
  readonly self: MemberView;
  readonly events = new EventEmitter<MembersEvents>();
  readonly #isCut: () => boolean;
  #alive: readonly MemberView[];

  constructor(self: MemberView, isCut: () => boolean) {
    this.self = self;
    this.#isCut = isCut;
    this.#alive = [self];
  }

  alive(): readonly MemberView[] {
    return this.#alive;
  }

  get isCut(): boolean {
    return this.#isCut();
  }

  see(alive: readonly MemberView[]): void {
    const before = this.#alive;
    this.#alive = alive;
    const joined = alive.filter((member) => !before.includes(member));
    const left = before.filter((member) => !alive.includes(member));
    for (const member of joined) this.events.emit('joined', member);
    for (const member of left) this.events.emit('left', member);
    if (joined.length + left.length > 0) this.events.emit('changed');
  }
}

class MemoryLease implements Lease {
  readonly events = new EventEmitter<LeaseEvents>();
  readonly #self: string;
  #leader: string | undefined;
  #term = 0;

  constructor(self: string) {
    this.#self = self;
  }

  get leader(): string | undefined {
    return this.#leader;
  }

  get held(): { term: number } | undefined {
    return this.#leader === this.#self ? { term: this.#term } : undefined;
  }

  set(leader: string | undefined, term: number): void {
    const before = this.#leader;
    if (before === leader) return;
    this.#leader = leader;
    this.#term = term;
    if (leader === this.#self) this.events.emit('gained', term);
    if (before === this.#self) this.events.emit('lost');
    this.events.emit('leader', leader);
  }
}

class MemoryBus implements Bus {
  readonly self: string;
  readonly events = new EventEmitter<BusEvents>();
  readonly handlers = new Handlers();
  readonly #deliver: (to: string, kind: BusKind, message: unknown) => void;

  constructor(self: string, deliver: (to: string, kind: BusKind, message: unknown) => void) {
    this.self = self;
    this.#deliver = deliver;
  }

  send<K extends BusKind>(to: string, kind: K, message: BusMessages[K]): void {
    this.#deliver(to, kind, message);
  }

  on<K extends BusKind>(kind: K, handle: (from: string, message: BusMessages[K]) => void): () => void {
    return this.handlers.on(kind, handle);
  }
}

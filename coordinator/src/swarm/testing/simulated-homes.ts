import type { Rng } from '@shoal/model';
import type { Hello } from '@shoal/protocol';
import { memoryLinkPair } from '@shoal/transport';
import { VirtualClock } from '../../../../tools/simulate/virtual-clock.ts';
import { EventLog } from '../../base/event-log.ts';
import { type MemoryMember, MemoryCluster } from '../../cluster/testing/memory-cluster.ts';
import { type Deliver, MemoryTabBoards } from '../../cluster/testing/memory-tab-boards.ts';
import { MemoryTabOrders } from '../../cluster/testing/memory-tab-orders.ts';
import { LapClient } from '../../laps/lap-client.ts';
import { PeerSession } from '../peer-session.ts';
import { SwarmPlacement } from '../swarm-placement.ts';
import { DEFAULT_TIMINGS } from '../swarm-options.ts';
import { HIDDEN, helloOf, SHARD_BYTES } from './fake-tab.ts';

const LAYERS = [3, 5, 7];
const EXPERTS = 4;
export const ALL_EXPERTS = LAYERS.length * EXPERTS;

/** As the members of a real cluster notice it (CLUSTER_TIMES). */
const DEAD_MS = 3_500;
const HOMELESS_MS = 10_000;

export interface Home {
  readonly member: MemoryMember;
  readonly placement: SwarmPlacement;
  readonly events: EventLog;
  peers: PeerSession[];
  /** Bytes' worth of experts that its tabs had to download. */
  fetched: number;
}

export interface SimulationOptions {
  homes: number;
  rng: Rng;
  replicas?: number;
  /** Of what members tell each other, at most. */
  latencyMs?: number;
  /** A tab's time for one assignment, at most. */
  loadMs?: number;
}

/** Coordinators with one placement and tabs that only load, in virtual time. What they tell each other is late, in its order. */
export class SimulatedHomes {
  readonly clock = new VirtualClock();
  readonly cluster: MemoryCluster;
  readonly homes: Home[] = [];
  readonly boards: MemoryTabBoards;
  readonly orders: MemoryTabOrders;
  /** [experts] recent rows, of every home's answers. */
  load: number[] = Array.from({ length: ALL_EXPERTS }, () => 1);
  readonly #options: SimulationOptions;
  /** What is on its way between two members. */
  readonly #waiting = new Map<string, Message[]>();
  /** What each tab's browser has in its cache. */
  readonly #caches = new Map<string, Set<number>>();
  #numTabs = 0;

  constructor(options: SimulationOptions) {
    this.#options = options;
    this.cluster = new MemoryCluster(options.homes);
    this.boards = new MemoryTabBoards(this.#deliver);
    const holds = (id: string, term: number): boolean => {
      const { isReachable, lease } = this.#member(id);
      if (!isReachable) throw new Error('the database is away');
      return lease.held?.term === term;
    };
    this.orders = new MemoryTabOrders(holds, this.#deliver);
    for (const member of this.cluster.members) this.homes.push(this.#open(member));
  }

  get peers(): PeerSession[] {
    return this.homes.flatMap(({ peers }) => peers);
  }

  get leader(): Home | undefined {
    return this.homes.find(({ member }) => member.lease.held);
  }

  /** Experts that any tab serves. */
  served(): Set<number> {
    return new Set(this.peers.flatMap((peer) => (peer.serving ? [...peer.live] : [])));
  }

  join(home: Home, experts: number, given: { name?: string; tab?: number } = {}): PeerSession {
    const { name = `${this.#numTabs}`, tab = 0 } = given;
    const cache = this.#caches.get(`${name} ${tab}`) ?? new Set();
    this.#caches.set(`${name} ${tab}`, cache);
    const elsewhere = home.placement.cluster?.elsewhere(`donor of ${name}`, tab);
    const hello: Hello = { ...helloOf(name, experts), tab, kept: [...cache].map((e) => keptName(e)) };
    const peer: PeerSession = new PeerSession({
      peerId: `tab-${++this.#numTabs}`,
      donorId: `donor of ${name}`,
      donor: { held: new Map() },
      visit: 1 + (elsewhere?.visit ?? 0),
      hello,
      address: '',
      control: {
        assign: ({ epoch }) => this.#load(home, peer, epoch, cache),
        standing: () => {},
        dismiss: () => {},
      },
      shardBytes: SHARD_BYTES,
      expertsPerLayer: EXPERTS,
      layerIndex: new Map(LAYERS.map((layer, index) => [layer, index])),
      clock: this.clock,
    });
    home.peers.push(peer);
    home.placement.cluster?.joined(peer);
    const { a: link } = memoryLinkPair();
    const { clock } = this;
    peer.attach(link, new LapClient({ link, hiddenSize: HIDDEN, epoch: () => peer.epoch, onHostile: () => {}, clock }));
    peer.apply('connect');
    home.placement.arrived(peer);
    return peer;
  }

  leave(peer: PeerSession): void {
    const home = this.homes.find(({ peers }) => peers.includes(peer))!;
    peer.apply('leave');
    home.peers = home.peers.filter((other) => other !== peer);
    home.placement.cluster?.left(peer);
    home.placement.planning.soon(DEFAULT_TIMINGS.leaveDelayMs);
  }

  /** Ends a home as kill -9 does. Its tabs lose it at once, the others know later. */
  kill(home: Home): PeerSession[] {
    const orphans = home.peers;
    const { id } = home.member.members.self;
    home.member.kill();
    home.placement.planning.close();
    home.peers = [];
    this.clock.setTimeout(() => {
      this.cluster.expire();
      this.boards.end(id);
    }, DEAD_MS);
    this.clock.setTimeout(() => this.boards.forget(id), DEAD_MS + HOMELESS_MS);
    return orphans;
  }

  /** Takes a home's database away for so long. */
  cut(home: Home, forMs: number): void {
    const { member } = home;
    const { id } = member.members.self;
    member.cut();
    let isOver = false;
    this.clock.setTimeout(() => {
      if (isOver || member.isDead) return;
      this.cluster.expire();
      this.boards.cut(id);
    }, DEAD_MS);
    this.clock.setTimeout(() => {
      isOver = true;
      if (!member.isDead) member.mend();
    }, forMs);
    this.clock.setTimeout(() => this.boards.forget(id), DEAD_MS + HOMELESS_MS);
  }

  #open(member: MemoryMember): Home {
    const { id } = member.members.self;
    const { replicas = 1 } = this.#options;
    const events = new EventLog();
    const tabs = { peers: [] as PeerSession[], fetched: 0 };
    const home: Home = Object.assign(tabs, {
      member,
      events,
      placement: new SwarmPlacement({
        model: {
          layers: LAYERS,
          expertsPerLayer: EXPERTS,
          groupsPerLayer: 1,
          shardBytes: SHARD_BYTES,
          hiddenSize: HIDDEN,
        },
        shardHash: (layer, expert) => keptName(LAYERS.indexOf(layer) * EXPERTS + expert).padEnd(64, '0'),
        replicas,
        load: () => this.load,
        events,
        clock: this.clock,
        timings: DEFAULT_TIMINGS,
        cluster: { ...member, board: this.boards.board(id), orders: this.orders.of(id) },
        peers: () => tabs.peers,
        onAssigned: () => {},
        onReplaced: (peer) => this.leave(peer),
      }),
    });
    member.members.events.on('returned', () => this.boards.republish(id));
    this.#tick(home);
    return home;
  }

  #tick(home: Home): void {
    this.clock.setInterval(() => {
      if (!home.member.isDead) home.placement.planning.tick();
    }, 1000);
  }

  /** Loads an assignment, unless another comes first. */
  #load(home: Home, peer: PeerSession, epoch: number, cache: Set<number>): void {
    const { rng, loadMs = 500 } = this.#options;
    this.clock.setTimeout(() => {
      if (peer.state === 'gone' || peer.epoch !== epoch || home.member.isDead) return;
      for (const expert of peer.assigned) {
        if (!cache.has(expert)) home.fetched++;
        cache.add(expert);
        peer.live.add(expert);
      }
      peer.apply('test');
      peer.apply('pass');
      peer.noteLoaded();
      home.placement.planning.advance();
    }, rng() * loadMs);
  }

  #member(id: string): MemoryMember {
    return this.cluster.members.find(({ members }) => members.self.id === id)!;
  }

  /** In order between two members; while one of them is cut, it waits. */
  readonly #deliver: Deliver = (from, to, run) => {
    const { rng, latencyMs = 300 } = this.#options;
    const route = `${from} ${to}`;
    const waiting = this.#waiting.get(route) ?? [];
    this.#waiting.set(route, waiting);
    waiting.push({ atMs: this.clock.now() + rng() * latencyMs, run });
    if (waiting.length === 1) this.#arrive(from, to, waiting);
  };

  #arrive(from: string, to: string, waiting: Message[]): void {
    const next = (delayMs: number): void =>
      void this.clock.setTimeout(() => {
        const ends = [this.#member(from), this.#member(to)];
        if (ends.some((member) => member.isDead)) return;
        if (!ends.every((member) => member.isReachable)) return next(50);
        waiting.shift()!.run();
        if (waiting.length > 0) this.#arrive(from, to, waiting);
      }, delayMs);
    next(Math.max(0, waiting[0]!.atMs - this.clock.now()));
  }
}

interface Message {
  atMs: number;
  run: () => void;
}

const keptName = (expert: number): string => expert.toString(16).padStart(16, '0');

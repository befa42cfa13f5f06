import { createHash, randomUUID } from 'node:crypto';
import { capacityInExperts, type ExpertIndex, type PlacementModel, type PlacementPlan } from '@shoal/placement';
import type {
  Dismissed,
  FrameErrorReason,
  Hello,
  Intent,
  Progress,
  Ready,
  RefusalCode,
  Trouble,
} from '@shoal/protocol';
import type { Link } from '@shoal/transport';
import { type Clock, systemClock, type Timer } from '../dispatch/clock.ts';
import { LapError, type LapRequest } from '../dispatch/lap.ts';
import { LapClient } from '../dispatch/lap-client.ts';
import type { LocalWork } from '../dispatch/local-work.ts';
import { backendOf } from '../trust/bounds.ts';
import { Judge } from '../trust/judge.ts';
import type { Trust, Wrong } from '../trust/trust.ts';
import { bannedText, expelledText, foundOutText } from '../trust/words.ts';
import { type ExpertRef, selfTest } from './admission.ts';
import { DonorRecords } from './donor-records.ts';
import type { EventLog } from './event-log.ts';
import { type DonorControl, NO_EPOCH, PeerSession } from './peer-session.ts';
import { LoadWatch } from './load-watch.ts';
import { ReturningDonors } from './returning-donors.ts';
import { type Planner, Rollout } from './rollout.ts';
import { describeClose, mebibytes } from './wording.ts';

export interface SwarmOptions {
  model: PlacementModel & { hiddenSize: number };
  /** SHA-256 of the expert's shard. */
  shardHash: (layer: number, expert: number) => string;
  local: LocalWork;
  /** Probation, audits and quarantine; without it a peer that has passed its self-test is believed. */
  trust?: Trust;
  events: EventLog;
  /** Copies of each expert on distinct donors, where memory allows. */
  replicas: number;
  /** Load of each expert of late, for spare copies: [layers × experts per layer]. */
  load?: () => ArrayLike<number>;
  /** Whether tabs that compute on their processor, without WebGPU, are taken; they are unless said otherwise. */
  cpuDonors?: boolean;
  maxPeers?: number;
  timings?: Partial<SwarmTimings>;
  clock?: Clock;
  /** In place of ours, for holding other placements against it. */
  planner?: Planner;
  /** In place of the known-answer test, where tabs compute nothing. */
  selfTest?: typeof selfTest;
}

export interface SwarmTimings {
  /** After a join: others that come with it are planned together. */
  joinDelayMs: number;
  /**
   * After the first tab that comes back to a coordinator which has just started: others that were there come as well, and until
   * then nobody downloads what they bring.
   */
  returnDelayMs: number;
  /** After a departure: a tab that only reloads is back by then. */
  leaveDelayMs: number;
  /** From an assignment to `ready`, without any progress. */
  loadTimeoutMs: number;
  /** How long a draining peer serves while others take over. */
  drainTimeoutMs: number;
}

const DEFAULT_TIMINGS: SwarmTimings = {
  joinDelayMs: 150,
  returnDelayMs: 6_000,
  leaveDelayMs: 2_500,
  loadTimeoutMs: 120_000,
  drainTimeoutMs: 60_000,
};

/** A bound on strangers' tabs, well above what the coordinator's own attention could feed. */
const DEFAULT_MAX_PEERS = 512;
/** Laps in a row that a peer missed or could not do, after which others are given its experts; hammering does not help. */
const FAILURES_TO_DRAIN = 2;
/** The same, after which it is sent away at once. Either way it may come back. */
const FAILURES_TO_DISMISS = 3;

/** As the signalling schema has it. */
const MAX_FAREWELL_CHARS = 1000;

/** When moves were put off for their bytes: the allowance has grown by then. */
const DEFERRED_PLAN_MS = 10_000;
/** How often a draining peer is looked at. */
const DRAIN_CHECK_MS = 50;

export class HelloRefused extends Error {
  readonly code: RefusalCode;
  constructor(code: RefusalCode, message: string) {
    super(message);
    this.name = 'HelloRefused';
    this.code = code;
  }
}

/** The peers: who is in, in which state, and what follows when one joins, fails or leaves. */
export class Swarm {
  readonly model: SwarmOptions['model'];
  /** Peers that came and went since start. */
  joined = 0;
  departed = 0;

  readonly #options: SwarmOptions;
  readonly #timings: SwarmTimings;
  readonly #judge: Judge;
  readonly #peers = new Map<string, PeerSession>();
  readonly #donors = new DonorRecords();
  readonly #layerIndex: ReadonlyMap<number, number>;
  readonly #loading: LoadWatch;
  readonly #rollout: Rollout;
  readonly #returning: ReturningDonors;
  readonly #clock: Clock;
  readonly #ticker: Timer;
  #planTimer: { atMs: number; timer: Timer } | undefined;
  #nextPeer = 1;
  #draining = false;

  constructor(options: SwarmOptions) {
    this.#options = options;
    this.model = options.model;
    this.#clock = options.clock ?? systemClock;
    this.#timings = { ...DEFAULT_TIMINGS, ...options.timings };
    this.#layerIndex = new Map(options.model.layers.map((layer, index) => [layer, index]));
    const { loadTimeoutMs } = this.#timings;
    this.#loading = new LoadWatch(this.#clock, loadTimeoutMs, (peer) => {
      const message = `No experts were loaded for ${loadTimeoutMs / 1000} s.`;
      this.dismiss(peer, { code: 'timeout', message, retry: true });
    });
    this.#returning = new ReturningDonors({
      ...options,
      clock: this.#clock,
      returnDelayMs: this.#timings.returnDelayMs,
      onOver: () => this.#planSoon(0),
    });
    this.#rollout = new Rollout({
      ...options,
      peers: () => this.peers,
      heldBefore: (peer) => this.#returning.held(peer) ?? peer.donor.held.get(peer.tab) ?? [],
      onAssigned: (peer) => this.#loading.start(peer),
    });
    const { local, trust } = options;
    const compute = (request: LapRequest): Promise<Float32Array> => local.compute(request);
    this.#judge = trust?.judge ?? new Judge({ compute, recompute: compute });
    if (trust) trust.onWrong = (peerId, wrong) => this.#foundOut(peerId, wrong);
    this.#ticker = this.#clock.setInterval(() => this.#tick(), 1000);
    this.#ticker.unref();
  }

  get plan(): PlacementPlan {
    return this.#rollout.plan;
  }

  /** Experts without a replica for a while, since start, because full peers had to exchange them. */
  get uncoveredByMoves(): number {
    return this.#rollout.uncoveredByMoves;
  }

  /** All peers, in the order in which they came. */
  get peers(): readonly PeerSession[] {
    return [...this.#peers.values()];
  }

  /** The peers that may be given laps now. */
  *serving(): Iterable<PeerSession> {
    for (const peer of this.#peers.values()) if (peer.serving) yield peer;
  }

  /** Experts without a live replica that may be asked. */
  uncovered(): number {
    const covered = new Set<ExpertIndex>();
    for (const peer of this.serving()) for (const expert of peer.live) covered.add(expert);
    return this.model.layers.length * this.model.expertsPerLayer - covered.size;
  }

  /** Admit a donor's tab. Throws HelloRefused. */
  join(hello: Hello, address: string, control: DonorControl): PeerSession {
    const capacity = capacityInExperts(hello.pledgeBytes, this.model.shardBytes);
    const session = this.#session(hello, address, control);
    const old = this.peers.find((peer) => peer.donorId === session.donorId && peer.tab === session.tab);
    if (this.#draining) throw new HelloRefused('draining', 'The coordinator is shutting down. Come back in a minute.');
    if (this.#options.cpuDonors === false && backendOf(hello.adapter) === 'wasm') {
      throw new HelloRefused('no-cpu', 'Whoever runs this coordinator takes tabs with WebGPU only.');
    }
    if (!old && this.#peers.size >= (this.#options.maxPeers ?? DEFAULT_MAX_PEERS)) {
      throw new HelloRefused('full', `The swarm has its ${this.#peers.size} tabs already. Come back later.`);
    }
    if (capacity < 1 || session.placementPeer().maxExpertsPerLayer < 1) {
      throw new HelloRefused(
        'too-small',
        `One expert of this model takes ${mebibytes(this.model.shardBytes)}; lend more memory than that.`,
      );
    }
    const bannedUntilMs = this.#options.trust?.quarantine.until(session);
    if (bannedUntilMs !== undefined) throw new HelloRefused('banned', bannedText(bannedUntilMs));
    if (old)
      this.dismiss(old, { code: 'replaced', message: 'This tab has joined again from elsewhere.', retry: false });
    this.#peers.set(session.peerId, session);
    this.joined++;
    return session;
  }

  /** The peer's lap channel is open: it can be given experts. */
  attach(peer: PeerSession, link: Link): void {
    if (peer.state === 'gone') return link.close('closed');
    const laps = new LapClient({
      link,
      hiddenSize: this.model.hiddenSize,
      epoch: () => peer.epoch,
      clock: this.#clock,
      onHostile: (message, reason) => this.#hostile(peer, message, reason),
    });
    link.onFrame = (frame) => laps.receive(frame);
    link.onClose = (reason) => this.leave(peer, describeClose(reason));
    peer.attach(link, laps);
    // A donor may have paused before the connection was there.
    if (peer.state === 'connecting') peer.state = 'loading';
    this.#event(
      'info',
      `${peer.peerId} joined from ${peer.address} and lends ${mebibytes(peer.hello.pledgeBytes)}`,
      peer,
    );
    this.#returning.arrived(peer);
    this.#planSoon(this.#timings.joinDelayMs);
  }

  progress(peer: PeerSession, progress: Progress): void {
    if (progress.epoch !== peer.epoch || progress.epoch === peer.readyEpoch) return;
    peer.loadedShare = progress.totalBytes === 0 ? 1 : Math.min(1, progress.doneBytes / progress.totalBytes);
    this.#loading.start(peer);
  }

  /** The assignment's experts are loaded: test the new ones, then let them serve. */
  async ready(peer: PeerSession, message: Ready): Promise<void> {
    if (message.epoch !== peer.epoch || peer.state === 'gone') return;
    this.#loading.stop(peer);
    peer.readyEpoch = message.epoch;
    peer.allocatedBytes = message.allocatedBytes;
    peer.loadedShare = 1;
    await this.#testNew(peer);
  }

  /** Test what is loaded and not tested yet. A paused peer answers no laps: it is tested when it resumes. */
  async #testNew(peer: PeerSession): Promise<void> {
    if (peer.state === 'paused' || peer.readyEpoch !== peer.epoch) return;
    const { epoch } = peer;
    if (peer.state === 'loading') peer.state = 'testing';
    peer.control.standing(peer.standing());
    const known = new Set([peer.live, ...peer.tests].flatMap((experts) => [...experts]));
    const fresh = [...peer.assigned].filter((expert) => !known.has(expert));
    if (fresh.length > 0) {
      const test = new Set(fresh);
      peer.tests.add(test);
      const passed = await this.#test(peer, fresh, test);
      if (!peer.tests.delete(test) || !passed) return;
      // Without those that a newer assignment has taken away meanwhile.
      for (const expert of test) peer.live.add(expert);
      this.#event('info', `${peer.peerId} serves ${test.size} more experts (${this.#layerText(peer)})`, peer);
    }
    if (peer.tests.size > 0) return;
    if (peer.state === 'testing') peer.state = peer.live.size > 0 || peer.epoch === epoch ? 'waiting' : 'loading';
    peer.note = undefined;
    peer.control.standing(peer.standing());
    this.#rollout.retire();
  }

  trouble(peer: PeerSession, { code, message }: Trouble): void {
    this.#event('warning', `${peer.peerId} is in trouble (${code}): ${message}`, peer);
    if (code === 'device-lost') {
      // The tab rebuilds its device and loads the same experts again; then it says `ready`, and is tested anew.
      peer.live.clear();
      peer.tests.clear();
      peer.readyEpoch = NO_EPOCH;
      if (peer.state === 'waiting' || peer.state === 'working' || peer.state === 'testing') peer.state = 'loading';
      peer.note = 'lost its GPU and is rebuilding';
      this.#loading.start(peer);
      return;
    }
    const retry = code === 'download' || code === 'hash';
    const told = `The tab could not hold its experts: ${message}`.slice(0, MAX_FAREWELL_CHARS);
    this.dismiss(peer, { code: 'removed', message: told, retry });
  }

  intent(peer: PeerSession, { intent }: Intent): void {
    switch (intent) {
      case 'pause':
        if (peer.state === 'gone' || peer.state === 'draining' || peer.state === 'paused') return;
        peer.state = 'paused';
        peer.tests.clear();
        if (peer.readyEpoch === peer.epoch) this.#loading.stop(peer);
        this.#event('info', `${peer.peerId} was paused by its donor`, peer);
        return this.#planSoon(this.#timings.leaveDelayMs);
      case 'resume':
        if (peer.state !== 'paused') return;
        peer.state = !peer.connected ? 'connecting' : peer.live.size > 0 ? 'waiting' : 'loading';
        this.#event('info', `${peer.peerId} was resumed by its donor`, peer);
        void this.#testNew(peer);
        return this.#planSoon(this.#timings.joinDelayMs);
      case 'finish':
        return this.drain(peer, { code: 'finished', message: 'All done. Thank you.', retry: false });
      case 'leave':
        return this.leave(peer, 'said goodbye');
      default:
        intent satisfies never;
    }
  }

  /** Give its experts to others, then send it away. */
  drain(peer: PeerSession, farewell: Dismissed): void {
    if (peer.state === 'gone' || peer.state === 'draining') return;
    const serves = peer.serving;
    peer.state = 'draining';
    peer.target = new Set();
    this.#event('info', `${peer.peerId} is being drained`, peer);
    peer.control.standing(peer.standing());
    if (!serves) return this.dismiss(peer, farewell);
    this.#planSoon(0);
    const startedMs = this.#clock.now();
    const timer = this.#clock.setInterval(() => {
      if (peer.state === 'gone') return this.#clock.clear(timer);
      const late = this.#clock.now() - startedMs > this.#timings.drainTimeoutMs;
      // Once others serve all of it, it gets no new laps; those in flight it may still answer.
      if (!this.#planTimer && this.#rollout.replaceable(peer)) peer.live.clear();
      if (!late && (peer.live.size > 0 || peer.laps.inFlight > 0)) return;
      this.#clock.clear(timer);
      this.dismiss(peer, farewell);
    }, DRAIN_CHECK_MS);
  }

  /** Send a peer away now. */
  dismiss(peer: PeerSession, message: Dismissed): void {
    if (peer.state === 'gone') return;
    peer.control.dismiss(message);
    this.leave(peer, `was sent away: ${message.message}`);
  }

  /** A peer is gone, for whatever reason; its laps go elsewhere at once. */
  leave(peer: PeerSession, why: string): void {
    if (peer.state === 'gone') return;
    const lost = peer.live.size;
    peer.state = 'gone';
    this.#loading.stop(peer);
    this.#donors.remember(peer);
    this.#peers.delete(peer.peerId);
    this.departed++;
    const rows = peer.connected ? peer.laps.inFlight : 0;
    if (peer.connected) peer.laps.close(`${peer.peerId} ${why}`);
    peer.link?.close('closed');
    const inFlight = rows > 0 ? ` with ${rows} laps in flight` : '';
    this.#event(lost > 0 ? 'warning' : 'info', `${peer.peerId} ${why}${inFlight}`, peer);
    this.#planSoon(this.#timings.leaveDelayMs);
  }

  /** Send everyone away and stop. */
  close(): void {
    this.#draining = true;
    for (const peer of this.peers) {
      this.dismiss(peer, { code: 'draining', message: 'The coordinator is shutting down.', retry: true });
    }
    this.#options.trust?.close();
    this.#clock.clear(this.#ticker);
    this.#clock.clear(this.#planTimer?.timer);
    this.#planTimer = undefined;
  }

  #session(hello: Hello, address: string, control: DonorControl): PeerSession {
    const donorId = createHash('sha256').update(hello.donorToken).digest('hex').slice(0, 16);
    return new PeerSession({
      peerId: `tab-${this.#nextPeer++}-${randomUUID().slice(0, 4)}`,
      donorId,
      donor: this.#donors.of(donorId),
      hello,
      address,
      control,
      shardBytes: this.model.shardBytes,
      expertsPerLayer: this.model.expertsPerLayer,
      layerIndex: this.#layerIndex,
      trust: this.#options.trust,
      clock: this.#clock,
    });
  }

  #planSoon(delayMs: number): void {
    if (this.#draining) return;
    const atMs = this.#clock.now() + delayMs;
    if (this.#planTimer && this.#planTimer.atMs <= atMs) return;
    this.#clock.clear(this.#planTimer?.timer);
    this.#planTimer = { atMs, timer: this.#clock.setTimeout(() => this.#replan(), delayMs) };
  }

  #replan(): void {
    this.#planTimer = undefined;
    this.#rollout.replan(() => !this.#returning.expected);
  }

  /** `test`: as it stands in the peer's tests. Whoever computes wrongly or doesn't answer is sent away. */
  async #test(peer: PeerSession, fresh: readonly ExpertIndex[], test: ReadonlySet<ExpertIndex>): Promise<boolean> {
    const refs = fresh.map((expert) => this.#rollout.ref(expert));
    const counts = (): boolean => peer.tests.has(test as Set<ExpertIndex>) && peer.state !== 'gone';
    try {
      const answerKnown = this.#options.selfTest ?? selfTest;
      const { tested, matched } = await answerKnown(
        peer.laps,
        this.#judge,
        refs,
        this.model.hiddenSize,
        peer.trust.bounds,
      );
      peer.verifiedShare = matched / tested;
      if (matched === tested) return counts() && (await this.#probation(peer, refs)) && counts();
      this.#options.trust?.exclude(peer, true);
      const message = `The GPU computed ${tested - matched} of ${tested} experts wrongly. Its driver may be at fault.`;
      this.dismiss(peer, { code: 'self-test', message, retry: false });
    } catch (error) {
      if (!counts()) return false;
      if (!(error instanceof LapError)) {
        // The packed weights cannot be read: nothing against the peer.
        const message = `The coordinator could not test the tab: ${error instanceof Error ? error.message : String(error)}`;
        this.#event('error', message, peer);
        this.dismiss(peer, { code: 'timeout', message: 'The coordinator could not test the tab.', retry: true });
        return false;
      }
      // The socket will tell the reason, and then that it is ready again.
      if (error.refusal === 'paused' || error.refusal === 'device-lost' || test.size < fresh.length) {
        this.#loading.start(peer);
        return false;
      }
      const message = `The self-test was not answered: ${error.message}`;
      this.dismiss(peer, { code: 'timeout', message, retry: true });
    }
    return false;
  }

  /** A peer's first rows count for nothing but their comparison. A peer that has served already has them behind it. */
  async #probation(peer: PeerSession, refs: readonly ExpertRef[]): Promise<boolean> {
    const { trust } = this.#options;
    if (!trust || peer.trust.phase === 'trusted') return true;
    const held = new Map<number, Set<number>>();
    for (const { layer, expert } of refs) held.set(layer, (held.get(layer) ?? new Set()).add(expert));
    const passed = await trust.probation(peer, held);
    if (passed) this.#event('info', `${peer.peerId} was right in ${peer.trust.auditedRows} rows in shadow`, peer);
    return passed;
  }

  /** A result of a peer is wrong beyond doubt. It may have gone meanwhile; its donor is kept out all the same. */
  #foundOut(peerId: string, wrong: Wrong): void {
    const peer = this.#peers.get(peerId);
    const text = foundOutText(peerId, wrong);
    this.#options.events.add({ level: 'error', kind: 'peer', text, peerId });
    const farewell: Dismissed = { code: 'wrong-results', message: bannedText(wrong.untilMs), retry: false };
    if (peer) this.dismiss(peer, farewell);
    this.#expelDonor(wrong.donorId, farewell);
  }

  /** It is the donor who is kept out: the same browser and GPU are behind its other tabs. */
  #expelDonor(donorId: string, farewell: Dismissed): void {
    for (const other of this.peers) {
      if (other.donorId !== donorId) continue;
      this.#options.trust?.expel(other);
      this.#event('error', expelledText(other.peerId, other.trust), other);
      this.dismiss(other, farewell);
    }
  }

  #hostile(peer: PeerSession, message: string, reason: FrameErrorReason): void {
    this.#event('error', `${peer.peerId} broke the protocol and was dropped: ${message}`, peer);
    // No page of ours sends such a number: it is a result that is wrong, and not a misunderstanding.
    const farewell: Dismissed = { code: 'protocol', message: `The tab sent what it may not: ${message}`, retry: false };
    this.dismiss(peer, farewell);
    if (reason !== 'not-finite' || !this.#options.trust) return;
    this.#options.trust.exclude(peer);
    this.#expelDonor(peer.donorId, farewell);
  }

  #tick(): void {
    // A plan that put moves off to stay within its budget is taken up again.
    if (this.#rollout.deferred && !this.#planTimer) this.#planSoon(DEFERRED_PLAN_MS);
    this.#options.trust?.tick();
    for (const peer of this.peers) {
      peer.tick();
      if (!peer.connected) continue;
      if (!this.#relieve(peer)) peer.control.standing(peer.standing());
    }
  }

  /** Send away, in stages, whom laps fail on. */
  #relieve(peer: PeerSession): boolean {
    const failures = peer.laps.consecutiveFailures;
    if (failures < FAILURES_TO_DRAIN) return false;
    const message = `${failures} laps in a row failed or were not answered in time.`;
    const farewell: Dismissed = { code: 'timeout', message, retry: true };
    if (failures >= FAILURES_TO_DISMISS || !peer.serving) this.dismiss(peer, farewell);
    else this.drain(peer, farewell);
    return true;
  }

  #layerText(peer: PeerSession): string {
    const layers = peer.liveLayers();
    return `${layers.length === 1 ? 'layer' : 'layers'} ${layers.join(', ')}`;
  }

  #event(level: 'info' | 'warning' | 'error', text: string, peer: PeerSession): void {
    this.#options.events.add({ level, kind: 'peer', text, peerId: peer.peerId });
  }
}

import { createHash, randomUUID } from 'node:crypto';
import { capacityInExperts, type ExpertIndex, type PlacementPlan } from '@shoal/placement';
import type { Dismissed, FrameErrorReason, Hello, Intent, Progress, Ready, Trouble } from '@shoal/protocol';
import type { Link } from '@shoal/transport';
import { type Clock, systemClock, type Timer } from '../base/clock.ts';
import type { WorkItem } from '@shoal/model';
import { LapClient } from '../laps/lap-client.ts';
import { backendOf } from '../trust/bounds.ts';
import { Judge } from '../trust/judge.ts';
import type { Wrong } from '../trust/trust.ts';
import { bannedText, expelledText, foundOutText } from '../trust/words.ts';
import { DonorRecords } from './donor-records.ts';
import { EntryTests } from './entry-tests.ts';
import { HelloRefused } from './hello-refused.ts';
import { type DonorControl, NO_EPOCH, PeerSession } from './peer-session.ts';
import { LoadWatch } from './load-watch.ts';
import { ReturningDonors } from './returning-donors.ts';
import { Rollout } from './rollout.ts';
import { DEFAULT_TIMINGS, type SwarmOptions, type SwarmTimings } from './swarm-options.ts';
import { describeClose, mebibytes } from './wording.ts';
import { type WireBytes, WireMeter } from './wire-meter.ts';

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

/** The peers: who is in, in which state, and what follows when one joins, fails or leaves. */
export class Swarm {
  readonly model: SwarmOptions['model'];
  /** Peers that came and went since start. */
  joined = 0;
  departed = 0;
  readonly #wire = new WireMeter();

  readonly #options: SwarmOptions;
  readonly #timings: SwarmTimings;
  readonly #peers = new Map<string, PeerSession>();
  readonly #donors = new DonorRecords();
  readonly #layerIndex: ReadonlyMap<number, number>;
  readonly #loading: LoadWatch;
  readonly #rollout: Rollout;
  readonly #tests: EntryTests;
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
    const compute = (request: WorkItem): Promise<Float32Array> => local.compute(request);
    this.#tests = new EntryTests({
      hiddenSize: this.model.hiddenSize,
      judge: trust?.judge ?? new Judge({ compute, recompute: compute }),
      ref: (expert) => this.#rollout.ref(expert),
      trust,
      knownAnswerTest: options.knownAnswerTest,
      dismiss: (peer, message) => this.dismiss(peer, message),
      onServes: () => this.#rollout.retire(),
      onWaiting: (peer) => this.#loading.start(peer),
      onEvent: (level, text, peer) => this.#event(level, text, peer),
    });
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

  /** What has passed all lap channels since start. */
  get wireBytes(): WireBytes {
    return this.#wire.read(this.#peers.values());
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
      rowFormat: peer.rowFormat,
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
    await this.#tests.testNew(peer);
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
        void this.#tests.testNew(peer);
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
    this.#wire.end(peer);
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
      rowFormat: this.#options.rowFormat,
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

  #event(level: 'info' | 'warning' | 'error', text: string, peer: PeerSession): void {
    this.#options.events.add({ level, kind: 'peer', text, peerId: peer.peerId });
  }
}

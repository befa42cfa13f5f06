import { EventEmitter } from 'node:events';
import type { ExpertIndex, PlacementPlan } from '@shoal/placement';
import type { Dismissed, FrameErrorReason, Hello, Intent, Progress, Ready, TabPromise, Trouble } from '@shoal/protocol';
import type { Link } from '@shoal/transport';
import { JoinRefused } from '../access/join-refused.ts';
import { type Clock, systemClock, type Timer } from '../base/clock.ts';
import type { WorkItem } from '@shoal/model';
import { LapClient } from '../laps/lap-client.ts';
import { Judge } from '../trust/judge.ts';
import type { Wrong } from '../trust/trust.ts';
import { DonorRecords } from './donor-records.ts';
import { drain } from './drain.ts';
import { Entrance } from './entrance.ts';
import { Guests } from './guests.ts';
import { LoadDeadlines } from './load-deadlines.ts';
import {
  expelledText,
  FINISHED,
  foundOutText,
  LINK_ENDS,
  LINK_MISUSED,
  mebibytes,
  PLANNED_ENDS,
  quarantinedText,
  SHUTTING_DOWN,
  TOO_MANY_INTENTS,
  TOO_MANY_TESTS,
} from './messages.ts';
import type { DonorControl } from './donor-control.ts';
import { NO_EPOCH, PeerSession } from './peer-session.ts';
import { REPLACED } from './published-tabs.ts';
import { RejoinDelays } from './rejoin-delays.ts';
import { DEFAULT_TIMINGS, type SwarmOptions, type SwarmTimings } from './swarm-options.ts';
import { SwarmPlacement } from './swarm-placement.ts';
import { TabAdapters } from './tab-adapters.ts';
import { TabPauses } from './tab-pauses.ts';
import type { RemotePeer } from './remote-peer.ts';
import { Vetting } from './vetting.ts';
import { type WireBytes, WireMeter } from './wire-meter.ts';

/** The signalling schema's limit. */
const MAX_FAREWELL_CHARS = 1000;

/** All peers, their states, and what happens when one joins, fails or leaves. */
export class Swarm {
  readonly model: SwarmOptions['model'];
  /** The low-rank shards of all tabs. */
  readonly adapters: TabAdapters | undefined;
  /** Of a coordinator that may be one of several. */
  readonly guests: Guests | undefined;
  /** Peers that joined and left since startup. */
  joined = 0;
  departed = 0;
  /** `joined`: a tab was let in; `left`: its visit is over, for whatever reason. */
  readonly visits = new EventEmitter<{ joined: [peer: PeerSession]; left: [peer: PeerSession] }>();
  readonly #wire = new WireMeter();
  readonly #options: SwarmOptions;
  readonly #timings: SwarmTimings;
  readonly #peers = new Map<string, PeerSession>();
  readonly #donors = new DonorRecords();
  readonly #loading: LoadDeadlines;
  readonly #rejoins: RejoinDelays;
  readonly #entrance: Entrance;
  readonly #placement: SwarmPlacement;
  readonly #vetting: Vetting;
  readonly #pauses: TabPauses;
  readonly #clock: Clock;
  readonly #ticker: Timer;
  #draining = false;

  constructor(options: SwarmOptions) {
    this.#options = options;
    this.model = options.model;
    this.#clock = options.clock ?? systemClock;
    this.#timings = { ...DEFAULT_TIMINGS, ...options.timings };
    const { loadTimeoutMs } = this.#timings;
    this.#loading = new LoadDeadlines(this.#clock, loadTimeoutMs, (peer) => {
      const message = `The tab made no progress loading its experts for ${loadTimeoutMs / 1000} s.`;
      this.letGo(peer, { code: 'timeout', message, retry: true });
    });
    this.#rejoins = new RejoinDelays(() => this.#clock.now());
    this.#entrance = new Entrance({
      ...options,
      clock: this.#clock,
      donors: this.#donors,
      rejoins: this.#rejoins,
      peers: () => this.peers,
      cluster: () => this.#placement.cluster,
      dismiss: (peer, message) => this.dismiss(peer, message),
    });
    this.#placement = new SwarmPlacement({
      ...options,
      clock: this.#clock,
      timings: this.#timings,
      peers: () => this.peers,
      onAssigned: (peer) => this.#expectLoading(peer),
      onReplaced: (peer) => this.dismiss(peer, REPLACED),
    });
    const { local, trust } = options;
    const compute = (request: WorkItem): Promise<Float32Array> => local.compute(request);
    const judge = trust?.judge ?? new Judge({ compute, recompute: compute });
    this.#vetting = new Vetting({
      ...options,
      hiddenSize: this.model.hiddenSize,
      judge,
      ref: (expert) => this.#placement.rollout.ref(expert),
      dismiss: (peer, message) => this.dismiss(peer, message),
      onServes: () => this.#placement.planning.advance(),
      onWaiting: (peer) => this.#expectLoading(peer),
      letGo: (peer, message) => this.letGo(peer, message),
      onEvent: (level, text, peer) => this.#event(level, text, peer),
    });
    this.#pauses = new TabPauses({
      donors: this.#donors,
      loading: this.#loading,
      placement: this.#placement,
      timings: this.#timings,
      vetting: this.#vetting,
      expectLoading: (peer) => this.#expectLoading(peer),
      letGo: (peer, farewell) => this.letGo(peer, farewell),
      onEvent: (level, text, peer) => this.#event(level, text, peer),
    });
    this.adapters = TabAdapters.of(options, this.#clock, judge, this.#vetting, () => this.peers);
    this.guests =
      options.cluster &&
      new Guests({
        ...options,
        ...options.cluster,
        clock: this.#clock,
        peers: () => this.peers,
        peer: (peerId) => this.#peers.get(peerId),
        letGo: (peer, farewell) => this.letGo(peer, farewell),
        expelDonor: (donorId, farewell) => this.expelDonor(donorId, farewell),
        onEnd: (peer) => this.#wire.end(peer),
      });
    trust?.events.on('wrong', (peerId, wrong) => this.#foundOut(peerId, wrong));
    this.#ticker = this.#clock.setInterval(() => this.#tick(), 1000);
    this.#ticker.unref();
  }

  get plan(): PlacementPlan {
    return this.#placement.plan;
  }

  /** Makes a new plan soon, since what is asked of plans has changed. */
  planAgain(): void {
    this.#placement.planning.soon(0);
  }

  /** Experts that were temporarily without a replica because full peers had to exchange them, since startup. */
  get uncoveredByMoves(): number {
    return this.#placement.rollout.uncoveredByMoves;
  }

  /** Bytes on all lap channels since startup. */
  get wireBytes(): WireBytes {
    return this.#wire.read([...this.#peers.values(), ...(this.guests?.links.peers() ?? [])]);
  }

  /** All peers, in the order in which they joined. */
  get peers(): readonly PeerSession[] {
    return [...this.#peers.values()];
  }

  /** The peers that may be given laps now, those with another home last. */
  *serving(): Iterable<PeerSession | RemotePeer> {
    for (const peer of this.#peers.values()) if (peer.serving) yield peer;
    yield* this.guests?.links.serving() ?? [];
  }

  /** The tabs of all coordinators that serve: this one's peers, and those that the others say serve. */
  *servingAnywhere(): Iterable<{ readonly peerId: string; readonly live: ReadonlySet<ExpertIndex> }> {
    for (const peer of this.#peers.values()) if (peer.serving) yield peer;
    yield* this.#placement.cluster?.serving() ?? [];
  }

  /** Number of experts that no tab serves. */
  uncovered(): number {
    const covered = new Set<ExpertIndex>();
    for (const tab of this.servingAnywhere()) for (const expert of tab.live) covered.add(expert);
    return this.model.layers.length * this.model.expertsPerLayer - covered.size;
  }

  /** Lets a donor's tab in. `keyId`: hash of the key that it has proven to have. Throws JoinRefused. */
  join(hello: Hello, address: string, control: DonorControl, keyId?: string): PeerSession {
    if (this.#draining) throw new JoinRefused('draining', SHUTTING_DOWN);
    const session = this.#entrance.enter(hello, address, control, keyId);
    this.#peers.set(session.peerId, session);
    this.#placement.cluster?.joined(session);
    this.joined++;
    this.visits.emit('joined', session);
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
      adapterNumber: this.adapters?.numberOf,
      share: () => peer.promised.share,
      clock: this.#clock,
      onHostile: (message, reason) => this.#hostile(peer, message, reason),
    });
    link.onFrame = (frame) => laps.receive(frame);
    link.onClose = (reason) => {
      if (reason === 'protocol') this.letGo(peer, { code: 'protocol', message: LINK_MISUSED, retry: false });
      else this.leave(peer, LINK_ENDS[reason]);
    };
    peer.attach(link, laps);
    peer.adapters = this.adapters?.open(peer);
    // Ignored if the donor has paused before the connection was there.
    peer.apply('connect');
    const { peerId, address } = peer;
    this.#event('info', `${peerId} joined from ${address} and lends ${mebibytes(peer.hello.pledgeBytes)}`, peer);
    this.#pauses.arrived(peer);
    this.#placement.arrived(peer);
    this.guests?.links.arrived(peer);
  }

  progress(peer: PeerSession, progress: Progress): void {
    if (progress.epoch !== peer.epoch || progress.epoch === peer.readyEpoch) return;
    peer.loadedShare = progress.totalBytes === 0 ? 1 : Math.min(1, progress.doneBytes / progress.totalBytes);
    peer.loadedBytes = progress.doneBytes;
    this.#loading.progress(peer, progress.doneBytes);
  }

  /** The assignment's experts are loaded: tests the new ones, then lets them serve. */
  async ready(peer: PeerSession, message: Ready): Promise<void> {
    if (message.epoch !== peer.epoch || peer.state === 'gone') return;
    this.#loading.stop(peer);
    peer.readyEpoch = message.epoch;
    peer.allocatedBytes = message.allocatedBytes;
    peer.loadedShare = 1;
    await this.#vetting.testNew(peer);
  }

  trouble(peer: PeerSession, { code, message }: Trouble): void {
    this.#event('warning', `${peer.peerId} reported a problem (${code}): ${message}`, peer);
    if (code === 'device-lost') {
      if (!peer.mayRepeatTest()) return this.letGo(peer, TOO_MANY_TESTS);
      // The tab gets a new device, loads the same experts again and reports `ready`. Then it is tested again.
      peer.live.clear();
      peer.tests.clear();
      peer.adapters?.clear();
      peer.noteLoaded();
      peer.readyEpoch = NO_EPOCH;
      peer.apply('lose-device');
      peer.note = 'lost its GPU and is loading its experts again';
      this.#expectLoading(peer);
      return;
    }
    const retry = code === 'download' || code === 'hash';
    if (retry) this.#options.onBadShards?.([...peer.target].map((expert) => this.#placement.rollout.shardHash(expert)));
    const farewell = `The tab could not load its experts: ${message}`.slice(0, MAX_FAREWELL_CHARS);
    this.letGo(peer, { code: 'removed', message: farewell, retry });
  }

  intent(peer: PeerSession, { intent }: Intent): void {
    if (intent === 'leave') return this.leave(peer, 'said goodbye');
    if (!peer.mayIntend()) return this.letGo(peer, TOO_MANY_INTENTS);
    if (intent === 'finish') return this.drain(peer, FINISHED);
    this.#pauses[intent](peer);
  }

  /** Its donor's limits allow something else now. */
  promise(peer: PeerSession, promise: TabPromise): void {
    this.#pauses.promise(peer, promise);
  }

  /** Dismisses a peer once others serve its experts, or after the drain timeout. */
  drain(peer: PeerSession, farewell: Dismissed): void {
    drain(peer, farewell, {
      clock: this.#clock,
      timeoutMs: this.#timings.peerDrainTimeoutMs,
      planning: this.#placement.planning,
      dismiss: () => this.dismiss(peer, farewell),
      onEvent: (level, text) => this.#event(level, text, peer),
    });
  }

  /** Ends a peer's visit now. */
  dismiss(peer: PeerSession, message: Dismissed): void {
    if (peer.state === 'gone') return;
    peer.control.dismiss(message);
    this.leave(peer, `was dismissed: ${message.message}`, PLANNED_ENDS.has(message.code));
  }

  /** As `dismiss`, of a peer that was of no use: its donor may have to wait before it joins again. */
  letGo(peer: PeerSession, farewell: Dismissed): void {
    if (peer.state === 'gone') return;
    this.#rejoins.useless(peer);
    this.dismiss(peer, farewell);
  }

  /** Removes a peer, for whatever reason `why` names; its laps go elsewhere at once. */
  leave(peer: PeerSession, why: string, isPlanned = true): void {
    if (!peer.apply('leave')) return;
    if (peer.wasInterrupted) this.#rejoins.unfinished(peer);
    const lost = peer.live.size;
    this.#loading.stop(peer);
    this.#donors.remember(peer);
    this.#peers.delete(peer.peerId);
    this.#placement.cluster?.left(peer);
    this.departed++;
    const laps = peer.connected ? peer.laps.inFlight : 0;
    if (peer.connected) peer.laps.close(`${peer.peerId} ${why}`);
    peer.link?.close('closed');
    peer.adapters?.close();
    this.#wire.end(peer);
    const inFlight = laps > 0 ? ` with ${laps} ${laps === 1 ? 'lap' : 'laps'} in flight` : '';
    this.#event(lost > 0 || !isPlanned ? 'warning' : 'info', `${peer.peerId} ${why}${inFlight}`, peer);
    this.visits.emit('left', peer);
    this.#placement.planning.soon(this.#timings.leaveDelayMs);
  }

  /** Dismisses every peer and stops. */
  close(): void {
    this.#draining = true;
    for (const peer of this.peers)
      this.dismiss(peer, { code: 'draining', message: 'The coordinator is shutting down.', retry: true });
    this.guests?.close();
    this.#options.trust?.close();
    this.#clock.clear(this.#ticker);
    this.#placement.planning.close();
  }

  /** A result of a peer is confirmed wrong. The peer may have left by now; its donor is quarantined all the same. */
  #foundOut(peerId: string, wrong: Wrong): void {
    const peer = this.#peers.get(peerId);
    this.#options.events.add({ level: 'error', kind: 'peer', text: foundOutText(peerId, wrong), peerId });
    const farewell: Dismissed = { code: 'wrong-results', message: quarantinedText(wrong.untilMs), retry: false };
    if (peer) this.dismiss(peer, farewell);
    this.expelDonor(wrong.donorId, farewell);
  }

  /** Dismisses all tabs of a donor, since the same browser and GPU are behind them. */
  expelDonor(donorId: string, farewell: Dismissed): void {
    this.guests?.links.expel(donorId);
    for (const other of this.peers) {
      if (other.donorId !== donorId) continue;
      this.#options.trust?.expel(other);
      this.#event('error', expelledText(other.peerId, other.trust), other);
      this.dismiss(other, farewell);
    }
  }

  #hostile(peer: PeerSession, message: string, reason: FrameErrorReason): void {
    this.#event('error', `${peer.peerId} broke the protocol: ${message}`, peer);
    const farewell: Dismissed = { code: 'protocol', message: `The tab broke the protocol: ${message}`, retry: false };
    this.letGo(peer, farewell);
    // Our own page never sends NaN or ∞, so a number that is not finite is a wrong result rather than a misunderstanding.
    if (reason !== 'not-finite' || !this.#options.trust) return;
    this.#options.trust.exclude(peer);
    this.expelDonor(peer.donorId, farewell);
  }

  #tick(): void {
    this.#options.trust?.tick();
    this.guests?.links.tick();
    this.#placement.planning.tick();
    for (const peer of this.peers) {
      peer.tick();
      this.#pauses.tick(peer);
      if (!peer.connected || peer.state === 'resting') continue; // Nothing changes, and it may rest to save traffic.
      if (!this.#relieve(peer)) peer.control.standing(peer.standing());
    }
  }

  #expectLoading(peer: PeerSession): void {
    if (peer.state === 'resting') return;
    peer.startLoading();
    this.#loading.start(peer, (peer.assigned.size - peer.live.size) * this.model.shardBytes);
  }

  /** Drains a peer whose laps fail, and dismisses it if they go on failing. Returns whether it did either. */
  #relieve(peer: PeerSession): boolean {
    const { verdict } = peer.laps.failures;
    if (verdict === undefined) return false;
    const message = 'Too many of its laps failed, were refused, or were not answered in time.';
    const farewell: Dismissed = { code: 'timeout', message, retry: true };
    if (verdict === 'dismiss' || !peer.serving) this.letGo(peer, farewell);
    else if (peer.state !== 'draining') {
      this.#rejoins.useless(peer);
      this.drain(peer, farewell);
    }
    return true;
  }

  #event(level: 'info' | 'warning' | 'error', text: string, peer: PeerSession): void {
    this.#options.events.add({ level, kind: 'peer', text, peerId: peer.peerId }, peer.address);
  }
}

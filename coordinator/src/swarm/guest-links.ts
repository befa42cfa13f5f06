import { createHash, randomInt } from 'node:crypto';
import type { ExpertIndex } from '@shoal/placement';
import type { Dismissed, FrameErrorReason, RowFormat } from '@shoal/protocol';
import type { Link } from '@shoal/transport';
import type { Clock } from '../base/clock.ts';
import type { Bus } from '../cluster/cluster.ts';
import { MAX_WORK_ENTRIES } from '../cluster/guest-messages.ts';
import type { RemoteTab, TabBoard } from '../cluster/tab-board.ts';
import { LapClient } from '../laps/lap-client.ts';
import { type GuestConnector, GuestLink } from './guest-link.ts';
import { LINK_ENDS, LINK_MISUSED } from './messages.ts';
import { READY_STATES } from './peer-state.ts';
import type { PeerSession } from './peer-session.ts';
import { RemotePeer } from './remote-peer.ts';
import type { SwarmOptions } from './swarm-options.ts';

/** Tabs that serve an expert here, own ones and remote ones: a late answer is asked of the second. */
const HOLDERS_PER_EXPERT = 2;
/** Links opened at the same time: each is an ICE and a DTLS handshake. */
const MAX_OPENING = 8;
/** After a lap, links are opened for so long. */
const WORK_MS = 10_000;
const TELL_EVERY_TICKS = 3;
/** A link without laps for so long ends, unless there are answers to compute and few others that serve what its tab does. */
const IDLE_MS = 300_000;

export interface GuestLinksOptions extends Pick<SwarmOptions, 'model' | 'rowFormat' | 'trust' | 'events'> {
  bus: Bus;
  board: TabBoard;
  clock: Clock;
  /** Experts that each of the own tabs serves. */
  own: () => Iterable<{ donorId: string; tab: number; live: ReadonlySet<ExpertIndex> }>;
  /** The link of a remote tab has ended: its bytes are counted from now on as those of the past. */
  onEnd: (peer: RemotePeer) => void;
  /** A remote tab sent a number that is not finite. */
  onLie: (donorId: string, farewell: Dismissed) => void;
}

/** This coordinator's links to tabs of others: as few as give each expert two holders here, while there are answers to compute. */
export class GuestLinks {
  /** Undefined until this coordinator has a network. */
  connector: GuestConnector | undefined;
  readonly #options: GuestLinksOptions;
  readonly #links = new Map<string, GuestLink>();
  readonly #layerIndex: ReadonlyMap<number, number>;
  readonly #stops: (() => void)[];
  readonly #rowFormat: RowFormat;
  #workedMs = Number.NEGATIVE_INFINITY;
  #ticks = 0;

  constructor(options: GuestLinksOptions) {
    this.#options = options;
    const { bus, board, model, rowFormat = 'f16' } = options;
    this.#rowFormat = rowFormat;
    this.#layerIndex = new Map(model.layers.map((layer, index) => [layer, index]));
    const changed = (tab: RemoteTab): void => this.#links.get(keyOf(tab))?.see(tab);
    const gone = (tab: RemoteTab): void => this.#gone(tab);
    board.events.on('changed', changed).on('gone', gone);
    this.#stops = [
      () => board.events.off('changed', changed).off('gone', gone),
      bus.on('guest-signal', (from, { peerId, attempt, signal }) => {
        const tab = board.of(peerId);
        if (tab) this.#links.get(keyOf(tab))?.signal(from, peerId, attempt, signal);
      }),
      bus.on('guest-refused', (from, { peerId, attempt, code }) => {
        const tab = board.of(peerId);
        if (tab?.home === from) this.#links.get(keyOf(tab))?.refused(attempt, code);
      }),
    ];
  }

  /** Remote tabs with an open link. */
  *peers(): Iterable<RemotePeer> {
    for (const { peer } of this.#links.values()) if (peer) yield peer;
  }

  /** Open links. */
  get size(): number {
    return [...this.peers()].length;
  }

  /** Those that may be given laps now. */
  *serving(): Iterable<RemotePeer> {
    for (const peer of this.peers()) if (peer.serving) yield peer;
  }

  /** There is work for experts. */
  work(): void {
    const isNew = !this.#isWorking;
    this.#workedMs = this.#options.clock.now();
    if (isNew) this.#open();
  }

  /** An own tab has joined: it needs no other link, once it serves. */
  arrived(own: PeerSession): void {
    const key = keyOf(own);
    const { peer } = this.#links.get(key) ?? {};
    if (peer) peer.takeOver(own);
    else this.#drop(key, 'has this coordinator for a home now');
  }

  /** Ends the links to all tabs of a donor that was quarantined, here or elsewhere. */
  expel(donorId: string): void {
    for (const peer of this.peers()) {
      if (peer.donorId !== donorId) continue;
      this.#options.trust?.expel(peer);
      this.#drop(keyOf(peer.tab), 'belongs to a donor in quarantine');
    }
  }

  /** Called once a second. */
  tick(): void {
    for (const [key, link] of this.#links) {
      link.tick();
      if (link.isLost) this.#drop(key, 'has left its home');
      if (link.peer?.isReplaced) this.#drop(key, 'has this coordinator for a home now');
      if (link.peer) this.#relieve(link, link.peer);
      if (link.peer && link.idleMs > IDLE_MS && !this.#isNeeded(link.peer)) link.end('was not needed');
    }
    if (++this.#ticks % TELL_EVERY_TICKS === 0) this.#tell();
    if (this.#isWorking) this.#open();
  }

  close(): void {
    for (const stop of this.#stops) stop();
    this.#tell();
    for (const key of this.#links.keys()) this.#drop(key, 'is no longer needed');
  }

  get #isWorking(): boolean {
    return this.#options.clock.now() - this.#workedMs <= WORK_MS;
  }

  #isNeeded({ live }: RemotePeer): boolean {
    if (!this.#isWorking) return false;
    const holders = this.#holders();
    return [...live].some((expert) => holders.get(expert)! <= HOLDERS_PER_EXPERT);
  }

  /** Opens links to tabs that serve what has too few holders here. Each member prefers other ones, so that all are used. */
  #open(): void {
    const { connector } = this;
    if (!connector) return;
    const { board, bus, trust } = this.#options;
    const holders = this.#holders();
    let opening = [...this.#links.values()].filter(({ isOpening }) => isOpening).length;
    const candidates = [...board.remote()].filter((tab) => this.#isCandidate(tab));
    const ranked = candidates.map((tab) => ({ tab, rank: rankOf(bus.self, tab) })).sort((a, b) => a.rank - b.rank);
    for (const { tab } of ranked) {
      if (opening >= MAX_OPENING) return;
      if (![...tab.live].some((expert) => (holders.get(expert) ?? 0) < HOLDERS_PER_EXPERT)) continue;
      if (trust?.quarantine.until(tab) !== undefined) continue;
      const link = this.#linkTo(tab);
      if (!link.isReady) continue;
      link.open(connector);
      opening++;
      count(holders, tab.live);
    }
  }

  #isCandidate(tab: RemoteTab): boolean {
    return (
      tab.maxCoordinators > 1 && tab.connected && !tab.isHomeless && READY_STATES.has(tab.state) && tab.live.size > 0
    );
  }

  /** Of each expert, the tabs that serve it here or soon will. */
  #holders(): Map<ExpertIndex, number> {
    const { own, board } = this.#options;
    const holders = new Map<ExpertIndex, number>();
    for (const { live } of own()) count(holders, live);
    for (const { live } of this.serving()) count(holders, live);
    for (const tab of board.remote()) if (this.#links.get(keyOf(tab))?.isOpening) count(holders, tab.live);
    return holders;
  }

  #linkTo(tab: RemoteTab): GuestLink {
    const key = keyOf(tab);
    const { bus, clock } = this.#options;
    const link =
      this.#links.get(key) ??
      new GuestLink(tab, randomInt(2 ** 16), {
        bus,
        clock,
        onOpen: (...given) => this.#peer(...given),
        onEnd: (peer, why) => this.#ended(peer, why),
        onHopeless: ({ peerId, home }, why) =>
          this.#event(
            'warning',
            `No link to ${peerId}, a tab of ${home}: ${why}. Others compute what it serves`,
            peerId,
          ),
      });
    this.#links.set(key, link);
    return link;
  }

  #peer(tab: RemoteTab, link: Link, end: (why: string) => void): RemotePeer {
    const { model, clock, trust } = this.#options;
    // The home uses with it what it supports; what this one does not use itself is of no use here.
    const rowFormat = tab.rowFormat === this.#rowFormat ? tab.rowFormat : 'f16';
    const laps = new LapClient({
      link,
      hiddenSize: model.hiddenSize,
      rowFormat,
      epoch: () => peer.tab.epoch,
      share: () => peer.tab.share,
      clock,
      onHostile: (message, reason) => this.#hostile(peer, message, reason),
    });
    const { expertsPerLayer } = model;
    const peer: RemotePeer = new RemotePeer({
      tab,
      link,
      laps,
      rowFormat,
      expertsPerLayer,
      layerIndex: this.#layerIndex,
      trust,
      clock,
    });
    link.onFrame = (frame) => laps.receive(frame);
    link.onClose = (reason) => {
      if (reason === 'protocol') this.#complain(peer, 'protocol', LINK_MISUSED);
      end(LINK_ENDS[reason]);
    };
    return peer;
  }

  /** Its laps go elsewhere at once. */
  #ended(peer: RemotePeer, why: string): void {
    peer.laps.close(`${peer.peerId} ${why}`);
    peer.link.onClose = undefined;
    peer.link.close('closed');
    this.#tell([peer]);
    this.#options.onEnd(peer);
  }

  /** Ends the link to a tab whose laps fail: its home, which may know more, decides about the visit. */
  #relieve(link: GuestLink, peer: RemotePeer): void {
    if (peer.laps.failures.verdict === undefined) return;
    this.#complain(peer, 'laps', 'too many of its laps failed, were refused, or were not answered in time');
    link.endAndRest('failed too many laps');
  }

  #hostile(peer: RemotePeer, message: string, reason: FrameErrorReason): void {
    this.#event('error', `${peer.peerId}, a tab of ${peer.tab.home}, broke the protocol: ${message}`, peer.peerId);
    this.#complain(peer, 'protocol', message);
    this.#links.get(keyOf(peer.tab))?.endAndRest('broke the protocol');
    if (reason !== 'not-finite' || !this.#options.trust) return;
    this.#options.trust.exclude(peer);
    const farewell: Dismissed = { code: 'protocol', message: `The tab broke the protocol: ${message}`, retry: false };
    this.#options.onLie(peer.donorId, farewell);
  }

  #complain({ tab }: RemotePeer, code: 'laps' | 'protocol', message: string): void {
    if (!tab.isHomeless)
      this.#options.bus.send(tab.home, 'guest-complaint', { peerId: tab.peerId, code, message: message.slice(0, 500) });
  }

  /** Tells homes what their tabs have done. */
  #tell(peers: Iterable<RemotePeer> = this.peers()): void {
    const byHome = new Map<string, { peerId: string; rows: number; tokens: number }[]>();
    for (const peer of peers) {
      const { home, isHomeless } = peer.tab;
      if (peer.isTakenOver) peer.tellOwn();
      if (isHomeless || peer.isTakenOver) continue;
      const { rows, tokens } = peer.takeWork();
      if (rows + tokens === 0) continue;
      byHome.set(home, [...(byHome.get(home) ?? []), { peerId: peer.peerId, rows, tokens }]);
    }
    for (const [home, work] of byHome)
      for (let i = 0; i < work.length; i += MAX_WORK_ENTRIES)
        this.#options.bus.send(home, 'guest-work', { work: work.slice(i, i + MAX_WORK_ENTRIES) });
  }

  /** A visit is over. The next one, with another home, may not have been read yet. */
  #gone(tab: RemoteTab): void {
    if (this.#options.board.ofTab(tab.donorId, tab.tab)) return;
    const link = this.#links.get(keyOf(tab));
    if (link?.peer?.isTakenOver) return;
    if (link?.peer) link.loseHome(tab.isHomeless);
    else this.#drop(keyOf(tab), 'has left its home');
  }

  #drop(key: string, why: string): void {
    const link = this.#links.get(key);
    this.#links.delete(key);
    link?.end(why);
  }

  #event(level: 'warning' | 'error', text: string, peerId: string): void {
    this.#options.events.add({ level, kind: 'peer', text, peerId });
  }
}

/** The same tab, whichever its home. */
const keyOf = ({ donorId, tab }: { donorId: string; tab: number }): string => `${donorId} ${tab}`;

/** Rendezvous hashing: each member has its own order of tabs, which does not depend on which others there are. */
function rankOf(member: string, tab: RemoteTab): number {
  return createHash('sha256')
    .update(`${member} ${keyOf(tab)}`)
    .digest()
    .readUInt32LE(0);
}

function count(holders: Map<ExpertIndex, number>, experts: Iterable<ExpertIndex>): void {
  for (const expert of experts) holders.set(expert, (holders.get(expert) ?? 0) + 1);
}

import type { IceServer, Signal } from '@shoal/protocol';
import type { Link } from '@shoal/transport';
import type { Clock } from '../base/clock.ts';
import type { Bus } from '../cluster/cluster.ts';
import type { RemoteTab } from '../cluster/tab-board.ts';
import type { RemotePeer } from './remote-peer.ts';

/** After a first failure; it doubles with each further one. */
const FIRST_REST_MS = 2_000;
const LONGEST_REST_MS = 600_000;
/** The tab is opening links to others. */
const BUSY_REST_MS = 3_000;
/** It serves as many coordinators as it may. */
const FULL_REST_MS = 120_000;
/** Failed attempts in a row after which an operator is told. */
const TOLD_AFTER = 4;
/**
 * Time for a tab whose home has ended to find another: that for which its page keeps links, and a little more. Of one that has left
 * its home, the next visit is known sooner; if there is none, its page has ended the link.
 */
const HOMELESS_MS = { ended: 70_000, left: 5_000 };
/** To an open link, of which the tab's own time is a part. */
const OPEN_TIMEOUT_MS = 35_000;

/** This end of a connection to a tab, whose signals pass over its home. */
export interface GuestConnection {
  signal(signal: Signal): void;
  /** Resolves when laps can be sent; rejects with a TransportError. */
  readonly link: Promise<Link>;
  close(): void;
}

/** How this coordinator connects to tabs of others. */
export interface GuestConnector {
  readonly lapConnections: number;
  /** What a tab of this donor is told. */
  iceServersFor(donorId: string): IceServer[];
  /** Opens this end. `onSignal` carries a signal to the tab. */
  connect(
    tab: Pick<RemoteTab, 'peerId' | 'address'>,
    attempt: number,
    onSignal: (signal: Signal) => void,
  ): GuestConnection;
}

export interface GuestLinkOptions {
  bus: Bus;
  clock: Clock;
  /** Makes a peer of an open link. */
  onOpen: (tab: RemoteTab, link: Link, end: (why: string) => void) => RemotePeer;
  /** The link of a peer has ended. */
  onEnd: (peer: RemotePeer, why: string) => void;
  /** It has failed again and again. */
  onHopeless: (tab: RemoteTab, why: string) => void;
}

type State =
  | { name: 'resting'; untilMs: number }
  | { name: 'opening'; sinceMs: number; home: string; peerId: string; connection: GuestConnection }
  | { name: 'open'; connection: GuestConnection; peer: RemotePeer; lapsAsked: number; usedMs: number };

/** This coordinator's link to one remote tab: opened, watched, and after failures tried again later and later. */
export class GuestLink {
  #tab: RemoteTab;
  #state: State = { name: 'resting', untilMs: Number.NEGATIVE_INFINITY };
  #attempt: number;
  #failures = 0;
  /** When it is given up, unless it has another home by then. */
  #lostMs = Number.POSITIVE_INFINITY;
  readonly #options: GuestLinkOptions;

  /** @param attempt number of the first attempt */
  constructor(tab: RemoteTab, attempt: number, options: GuestLinkOptions) {
    this.#tab = tab;
    this.#attempt = attempt;
    this.#options = options;
  }

  get peer(): RemotePeer | undefined {
    return this.#state.name === 'open' ? this.#state.peer : undefined;
  }

  get isOpening(): boolean {
    return this.#state.name === 'opening';
  }

  /** Whether it may be opened now. */
  get isReady(): boolean {
    return this.#state.name === 'resting' && this.#state.untilMs <= this.#options.clock.now();
  }

  /** The tab as its home knows it now. A new visit is another chance for one that failed. */
  see(tab: RemoteTab): void {
    const isNewVisit = tab.peerId !== this.#tab.peerId;
    if (tab.isHomeless) this.loseHome(true);
    else this.#lostMs = Number.POSITIVE_INFINITY;
    this.#tab = tab;
    if (this.peer?.isTakenOver) return;
    this.peer?.see(tab);
    if (!isNewVisit || this.#state.name === 'open') return;
    // Its last home no longer carries signals.
    this.#rest(0);
    this.#failures = 0;
  }

  /** Its home has ended, or it has left it. */
  loseHome(hasEnded: boolean): void {
    const lostMs = this.#options.clock.now() + (hasEnded ? HOMELESS_MS.ended : HOMELESS_MS.left);
    this.#lostMs = Math.min(this.#lostMs, lostMs);
  }

  /** Whether the tab has found no other home. */
  get isLost(): boolean {
    if (this.peer?.isTakenOver) return false;
    return this.#options.clock.now() >= this.#lostMs;
  }

  open(connector: GuestConnector): void {
    const { bus, clock } = this.#options;
    const { peerId, home, donorId } = this.#tab;
    const { lapConnections } = connector;
    const attempt = (this.#attempt = (this.#attempt + 1) % 2 ** 16);
    let connection: GuestConnection;
    try {
      connection = connector.connect(this.#tab, attempt, (signal) =>
        bus.send(home, 'guest-signal', { peerId, attempt, signal }),
      );
    } catch (error) {
      // WebRTC itself failed, for example for lack of memory.
      return this.#failed(messageOf(error));
    }
    this.#state = { name: 'opening', sinceMs: clock.now(), home, peerId, connection };
    bus.send(home, 'guest-open', { peerId, attempt, iceServers: connector.iceServersFor(donorId), lapConnections });
    connection.link.then(
      (link) => this.#opened(attempt, connection, link),
      (error: unknown) => this.#attempt === attempt && this.isOpening && this.#failed(messageOf(error)),
    );
  }

  /** A signal of the tab, which its home has passed on. */
  signal(from: string, peerId: string, attempt: number, signal: Signal): void {
    const state = this.#state;
    if (state.name === 'resting' || attempt !== this.#attempt || from !== this.#tab.home || peerId !== this.#tab.peerId)
      return;
    state.connection.signal(signal);
  }

  refused(attempt: number, code: 'limit' | 'failed' | 'busy' | 'gone'): void {
    if (this.#state.name !== 'opening' || attempt !== this.#attempt) return;
    if (code === 'busy') this.#rest(BUSY_REST_MS);
    else if (code === 'limit') this.#rest(FULL_REST_MS);
    else this.#failed(code === 'gone' ? 'its home does not know it' : 'the tab could not connect');
  }

  /** Called once a second: gives up what takes too long to open, and takes note of use. */
  tick(): void {
    const nowMs = this.#options.clock.now();
    const state = this.#state;
    if (state.name === 'opening' && nowMs - state.sinceMs > OPEN_TIMEOUT_MS) this.#failed('no connection in time');
    if (state.name !== 'open') return;
    const { lapsAsked } = state.peer.laps;
    if (lapsAsked !== state.lapsAsked) Object.assign(state, { lapsAsked, usedMs: nowMs });
  }

  /** Time since its last lap, or since it opened. */
  get idleMs(): number {
    return this.#state.name === 'open' ? this.#options.clock.now() - this.#state.usedMs : 0;
  }

  /** Ends the link; it may be opened again at once, or `restMs` later. */
  end(why: string, restMs = 0): void {
    const state = this.#state;
    this.#rest(restMs);
    if (state.name === 'open') this.#options.onEnd(state.peer, why);
  }

  /** Ends the link of a tab that did not do its part: as after a failed attempt. */
  endAndRest(why: string): void {
    this.#failures++;
    this.end(why, this.#restMs);
  }

  #opened(attempt: number, connection: GuestConnection, link: Link): void {
    if (attempt !== this.#attempt || this.#state.name !== 'opening') return connection.close();
    this.#failures = 0;
    const peer = this.#options.onOpen(
      this.#tab,
      link,
      (why) => attempt === this.#attempt && this.end(why, this.#restMs),
    );
    this.#state = { name: 'open', connection, peer, lapsAsked: peer.laps.lapsAsked, usedMs: this.#options.clock.now() };
  }

  #failed(why: string): void {
    this.#failures++;
    this.#rest(this.#restMs);
    if (this.#failures === TOLD_AFTER) this.#options.onHopeless(this.#tab, why);
  }

  get #restMs(): number {
    return Math.min(LONGEST_REST_MS, FIRST_REST_MS * 2 ** Math.max(0, this.#failures - 1));
  }

  #rest(restMs: number): void {
    const state = this.#state;
    this.#state = { name: 'resting', untilMs: this.#options.clock.now() + restMs };
    if (state.name === 'resting') return;
    state.connection.close();
    if (state.name === 'opening')
      this.#options.bus.send(state.home, 'guest-close', { peerId: state.peerId, attempt: this.#attempt });
  }
}

const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));

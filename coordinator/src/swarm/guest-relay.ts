import type { GuestRefused, Signal } from '@shoal/protocol';
import type { BusMessages } from '../cluster/bus-messages.ts';
import type { Bus } from '../cluster/cluster.ts';
import type { Clock } from '../base/clock.ts';
import { TokenBucket } from '../base/token-bucket.ts';
import type { PeerSession } from './peer-session.ts';
import { isStopped } from './peer-state.ts';

/**
 * Connections that a tab may begin to open for guests: each takes about 20 messages of its socket's
 * MAX_SIGNALLING_MESSAGES_PER_SECOND, which its own visit needs as well.
 */
const OPENING = { burst: 4, perMs: 1 / 1_000 };
/** Signals of a tab that are passed on for each connection of a link: an offer, and twice the candidates that a browser has at most. */
const SIGNALS_PER_CONNECTION = 32;
/** Characters of all of them together; four descriptions and their candidates take less than half. */
const MAX_SIGNAL_CHARS = 128 * 1024;
/** Members that complain about a tab within this time count together. */
const COMPLAINTS_MS = 600_000;

/** A guest that was announced to a tab. */
interface Announced {
  attempt: number;
  signalsLeft: number;
  charsLeft: number;
}

interface TabGuests {
  readonly announced: Map<string, Announced>;
  readonly opening: TokenBucket;
  /** When members last complained. */
  readonly complaints: Map<string, number>;
}

export interface GuestRelayOptions {
  bus: Bus;
  clock: Clock;
  peer: (peerId: string) => PeerSession | undefined;
  onEvent: (level: 'info' | 'warning', text: string, peer: PeerSession) => void;
  /** Its laps fail for others as well: its visit is of no use. */
  onUseless: (peer: PeerSession, code: 'laps' | 'protocol', message: string) => void;
}

/** The home's part in links between its tabs and other coordinators: it announces guests to tabs, and carries signals unread. */
export class GuestRelay {
  /** Signals of tabs that were not passed on. */
  dropped = 0;
  readonly #options: GuestRelayOptions;
  readonly #tabs = new WeakMap<PeerSession, TabGuests>();
  readonly #stops: (() => void)[];

  constructor(options: GuestRelayOptions) {
    this.#options = options;
    const { bus } = options;
    this.#stops = [
      bus.on('guest-open', (from, message) => this.#open(from, message)),
      bus.on('guest-close', (from, message) => this.#close(from, message)),
      bus.on('guest-signal', (from, message) => this.#toTab(from, message)),
      bus.on('guest-work', (_, { work }) => {
        for (const entry of work) options.peer(entry.peerId)?.workedFor(entry);
      }),
      bus.on('guest-complaint', (from, message) => this.#complain(from, message)),
    ];
  }

  /** A tab's signal for a guest. What exceeds the bounds of an honest page is dropped. */
  fromTab(peer: PeerSession, { guest, ...signal }: Signal): void {
    const announced = guest && this.#of(peer).announced.get(guest.coordinator);
    const chars = signal.type === 'candidate' ? signal.candidate.candidate.length : signal.sdp.length;
    const isDue =
      announced?.attempt === guest?.attempt && announced && announced.signalsLeft > 0 && announced.charsLeft >= chars;
    if (!guest || !isDue) {
      this.dropped++;
      return;
    }
    announced.signalsLeft--;
    announced.charsLeft -= chars;
    const { attempt, coordinator } = guest;
    this.#options.bus.send(coordinator, 'guest-signal', { peerId: peer.peerId, attempt, signal });
  }

  refused(peer: PeerSession, { coordinator, attempt, code }: GuestRefused): void {
    const { announced } = this.#of(peer);
    if (announced.get(coordinator)?.attempt !== attempt) return;
    announced.delete(coordinator);
    this.#refuse(coordinator, { peerId: peer.peerId, attempt }, code);
  }

  close(): void {
    for (const stop of this.#stops) stop();
  }

  #of(peer: PeerSession): TabGuests {
    const known = this.#tabs.get(peer);
    if (known) return known;
    const { clock } = this.#options;
    const opening = new TokenBucket(OPENING.burst, OPENING.burst / OPENING.perMs, () => clock.now());
    const guests: TabGuests = { announced: new Map(), opening, complaints: new Map() };
    this.#tabs.set(peer, guests);
    return guests;
  }

  #open(from: string, { peerId, attempt, iceServers, lapConnections }: BusMessages['guest-open']): void {
    const peer = this.#options.peer(peerId);
    const link = { peerId, attempt };
    if (!peer?.connected || !peer.control.guest) return this.#refuse(from, link, 'gone');
    if ((peer.hello.maxCoordinators ?? 1) < 2) return this.#refuse(from, link, 'limit');
    if (isStopped(peer.state)) return this.#refuse(from, link, 'failed');
    const { announced, opening } = this.#of(peer);
    if (opening.take(lapConnections) > 0) return this.#refuse(from, link, 'busy');
    const signalsLeft = SIGNALS_PER_CONNECTION * lapConnections;
    announced.set(from, { attempt, signalsLeft, charsLeft: MAX_SIGNAL_CHARS });
    peer.control.guest({ coordinator: from, attempt, open: true, iceServers, lapConnections });
  }

  #close(from: string, { peerId, attempt }: BusMessages['guest-close']): void {
    const peer = this.#options.peer(peerId);
    const announced = peer && this.#of(peer).announced;
    if (announced?.get(from)?.attempt !== attempt) return;
    announced!.delete(from);
    peer!.control.guest?.({ coordinator: from, attempt, open: false });
  }

  #toTab(from: string, { peerId, attempt, signal }: BusMessages['guest-signal']): void {
    const peer = this.#options.peer(peerId);
    if (peer && this.#of(peer).announced.get(from)?.attempt === attempt)
      peer.control.signal?.({ ...signal, guest: { coordinator: from, attempt } });
  }

  /**
   * A breach of the protocol is the tab's, whoever saw it. Laps fail for one coordinator when the path between them is bad; the tab
   * is of no use if they fail for two of them, of which this one may be one.
   */
  #complain(from: string, { peerId, code, message }: BusMessages['guest-complaint']): void {
    const { peer: find, clock, onEvent, onUseless } = this.#options;
    const peer = find(peerId);
    if (!peer) return;
    onEvent('warning', `${from} has ended its link to ${peerId}: ${message}`, peer);
    const { complaints } = this.#of(peer);
    const nowMs = clock.now();
    complaints.set(from, nowMs);
    for (const [member, atMs] of complaints) if (nowMs - atMs > COMPLAINTS_MS) complaints.delete(member);
    const failsHere = peer.connected && peer.laps.failures.inARow > 0;
    if (code === 'protocol' || complaints.size > 1 || failsHere) onUseless(peer, code, message);
  }

  #refuse(to: string, link: { peerId: string; attempt: number }, code: BusMessages['guest-refused']['code']): void {
    this.#options.bus.send(to, 'guest-refused', { ...link, code });
  }
}

import {
  MAX_TAB_SIGNALS,
  type Seek,
  type SeekReply,
  type TabFault,
  type TabLink,
  type TabSignal,
} from '@shoal/protocol';
import { SignalFilter } from '@shoal/transport/node';
import { addressKey } from '../base/address.ts';
import type { EventLog } from '../base/event-log.ts';
import { addressKind } from '../base/networks.ts';
import type { PeerSession } from './peer-session.ts';
import { ShardTracker } from './shard-tracker.ts';

type MeetingTab = Pick<PeerSession, 'peerId' | 'donorId' | 'address'>;

/** What the coordinator sends to a tab that exchanges shards. */
export interface MeetingControl {
  link(message: TabLink): void;
  signal(message: TabSignal): void;
}

export interface TabMeetingsOptions {
  /** SHA-256 of every shard of the model. */
  shards: Iterable<string>;
  shardBytes: number;
  iceServers: Extract<TabLink, { open: true }>['iceServers'];
  events: Pick<EventLog, 'add'>;
  nowMs?: () => number;
}

interface Guest {
  tab: MeetingTab;
  control: MeetingControl;
}

/** Signals of one end of a link, on their way to the other. */
interface Way {
  filter: SignalFilter;
  left: number;
}

/**
 * Lets tabs whose donors agree hand shards to each other (`--tab-to-tab`): says who has what, introduces them, and passes their
 * signals on. A tab hears only from those that it was introduced to, and of their addresses only what belongs to them.
 */
export class TabMeetings {
  readonly tracker: ShardTracker;
  readonly #options: TabMeetingsOptions;
  readonly #guests = new Map<string, Guest>();
  /** By the two names, the sender's first. */
  readonly #ways = new Map<string, Way>();
  readonly #faults: Record<TabFault, number> = { lacking: 0, unreachable: 0, stalled: 0, 'wrong-bytes': 0 };

  constructor(options: TabMeetingsOptions) {
    this.#options = options;
    this.tracker = new ShardTracker({
      names: new Set([...options.shards].map((sha256) => sha256.slice(0, 16))),
      shardBytes: options.shardBytes,
      nowMs: options.nowMs ?? (() => performance.now()),
      link: (a, b) => this.#link(a, b),
      unlink: (a, b) => this.#unlink(a, b),
      onDistrusted: ({ peerId }) => this.#tellOf(peerId),
    });
  }

  /** What tabs have said of each other since the start. */
  get faults(): Readonly<Record<TabFault, number>> {
    return this.#faults;
  }

  join(tab: MeetingTab, control: MeetingControl): void {
    this.#guests.set(tab.peerId, { tab, control });
    this.tracker.join(tab);
  }

  leave(peerId: string): void {
    this.tracker.leave(peerId);
    this.#guests.delete(peerId);
  }

  seek(peerId: string, message: Seek): SeekReply {
    for (const { fault } of message.faults) this.#faults[fault]++;
    return this.tracker.seek(peerId, message);
  }

  /** Passes a signal on, or what of it may be. What is for a tab that it has no link to is dropped: the link may just have ended. */
  signal(from: string, { tab: to, signal }: TabSignal): void {
    const way = this.#ways.get(`${from} ${to}`);
    if (!way || way.left === 0 || signal.connection || signal.guest) return;
    way.left--;
    const passed = way.filter.pass(signal);
    if (passed) this.#guests.get(to)?.control.signal({ tab: from, signal: passed });
  }

  #link(a: string, b: string): void {
    const [one, other] = [this.#guests.get(a)!, this.#guests.get(b)!];
    this.#ways.set(`${a} ${b}`, wayBetween(one.tab.address, other.tab.address));
    this.#ways.set(`${b} ${a}`, wayBetween(other.tab.address, one.tab.address));
    const { iceServers } = this.#options;
    // The one that answers first, so that it is ready for the offer.
    other.control.link({ tab: a, open: true, initiate: false, iceServers: stunOnly(iceServers) });
    one.control.link({ tab: b, open: true, initiate: true, iceServers: stunOnly(iceServers) });
  }

  #unlink(a: string, b: string): void {
    this.#ways.delete(`${a} ${b}`);
    this.#ways.delete(`${b} ${a}`);
    this.#guests.get(a)?.control.link({ tab: b, open: false });
    this.#guests.get(b)?.control.link({ tab: a, open: false });
  }

  #tellOf(peerId: string): void {
    const text = `Several donors say that ${peerId} sends wrong shards to other tabs. It gives no more in this visit`;
    this.#options.events.add({ level: 'warning', kind: 'peer', text, peerId }, this.#guests.get(peerId)?.tab.address);
  }
}

function wayBetween(from: string, to: string): Way {
  const { allows, allowsNames } = reachableOf(from, to);
  return { filter: new SignalFilter(allows, { allowsNames }), left: MAX_TAB_SIGNALS };
}

/**
 * Which of its addresses a tab may name to another, both as the coordinator sees them: of public ones its own (or its network's,
 * with IPv6), so that it can have the other send packets to nobody else; private ones and names only where both seem to be in the
 * same network; loopback only where both are on the coordinator's machine.
 */
export function reachableOf(from: string, to: string): { allows: (address: string) => boolean; allowsNames: boolean } {
  const [ownKind, otherKind] = [addressKind(from), addressKind(to)];
  const isLocal = (kind: string): boolean => kind === 'private' || kind === 'loopback';
  const areNear = addressKey(from) === addressKey(to) || (isLocal(ownKind) && isLocal(otherKind));
  const allows = (address: string): boolean => {
    const kind = addressKind(address);
    if (kind === 'public') return addressKey(address) === addressKey(from);
    if (kind === 'private') return areNear;
    return kind === 'loopback' && ownKind === 'loopback' && otherKind === 'loopback';
  };
  return { allows, allowsNames: areNear };
}

/** A relay would cost the operator's line what the coordinator saves. */
function stunOnly(servers: TabMeetingsOptions['iceServers']): TabMeetingsOptions['iceServers'] {
  return servers.flatMap(({ urls }) => {
    const left = [urls].flat().filter((url) => /^stuns?:/i.test(url));
    return left.length === 0 ? [] : [{ urls: left }];
  });
}

import { networksOf } from '../base/address.ts';
import type { Access } from './access.ts';
import type { Invite } from './access-file.ts';
import { JoinRefused } from './join-refused.ts';
import { digestOf } from './token.ts';
import type { NewBucket } from '../base/bucket.ts';
import { type Clock, NetworkBuckets } from '../base/token-bucket.ts';
import { Unconnected, type UnconnectedTab } from './unconnected.ts';

const MINUTE_MS = 60_000;
/** Tabs of one address that have no WebRTC connection yet: as many as return at once when the coordinator was restarted. */
const MAX_UNCONNECTED_PER_ADDRESS = 64;
/** A connection takes about a second. A tab that has none after this time makes way for another of its network. */
const CONNECTS_WITHIN_MS = 3_000;

export interface Caller {
  address: string;
  donorToken: string;
  /** Number of the donor's tab; 0 by default. */
  tab?: number | undefined;
  inviteToken?: string | undefined;
}

/** A tab's place under the limits, held while the tab is in the swarm. */
export interface Place {
  /** Name of the invitation; undefined in an open swarm. */
  invite: string | undefined;
  /** Whether the rules in force would still let the tab in. */
  allowed(): boolean;
  /** The tab has its WebRTC connection. */
  connected(): void;
  /** Frees the place. May be called twice. */
  leave(): void;
}

/** What the other coordinators of a cluster let in. */
export interface TabsElsewhere {
  /** Tabs in this place there. */
  in(place: string): Iterable<string>;
  /** Tells them what is in this place here. */
  tell(place: string, tabs: readonly string[]): void;
}

export interface DonorDoorOptions {
  clock?: Clock;
  dateMs?: Clock;
  /** Makes the buckets that joins are taken from. */
  newBucket?: NewBucket | undefined;
  elsewhere?: TabsElsewhere | undefined;
}

/** Checks a donor's invitation and the limits of its address, before anything costly is done for it. */
export class DonorDoor {
  readonly #access: Access;
  readonly #joins: NetworkBuckets;
  readonly #byNetwork = new Occupancy('network');
  /** Of those in `#byNetwork`, the tabs that are not connected yet. */
  readonly #unconnected = new Unconnected();
  readonly #byDonor = new Occupancy('donor');
  readonly #byInvite = new Occupancy('invite');
  readonly #nowMs: Clock;
  /** Wall clock, for invitations that expire. */
  readonly #dateMs: Clock;

  constructor(access: Access, options: DonorDoorOptions = {}) {
    const { clock = () => performance.now(), dateMs = Date.now, newBucket, elsewhere } = options;
    this.#access = access;
    this.#nowMs = clock;
    this.#dateMs = dateMs;
    this.#joins = new NetworkBuckets(access.policy.limits.joinsPerMinutePerAddress, MINUTE_MS, {
      clock,
      newBucket: newBucket && ((key, ...limit) => newBucket(`joins ${key}`, ...limit)),
    });
    for (const places of [this.#byNetwork, this.#byDonor, this.#byInvite]) places.elsewhere = elsewhere;
  }

  /**
   * Throws JoinRefused with the code `invite` or `limit`. `makeWay` is called if the tab's place is given to another, because
   * it has had no connection for too long; the place is then free already.
   */
  enter(caller: Caller, makeWay: () => void = () => {}): Place {
    const { address, tab: number = 0 } = caller;
    const donor = digestOf(caller.donorToken).toString('base64url');
    // Tabs are counted rather than sockets, since a tab that reconnects replaces itself.
    const tab = `${donor}/${number}`;
    const replaced = this.#checkRoom(address, donor, tab);
    // Not counted before, so that tabs that try again because there is no room don't use up the joins of their network.
    this.#countJoin(address);
    const invite = this.#checkInvite(caller.inviteToken, tab);
    for (const other of replaced) other.makeWay();
    const networks = networksOf(address).map(({ key }) => key);
    const leaveAll = [...networks.map((key) => this.#byNetwork.enter(key, tab)), this.#byDonor.enter(donor, tab)];
    if (invite) leaveAll.push(this.#byInvite.enter(invite.name, tab));
    const leave = (): void => {
      connected();
      leaveAll.forEach((leaveOne) => leaveOne());
    };
    const connected = this.#unconnected.enter(networks, {
      tab,
      sinceMs: this.#nowMs(),
      makeWay: () => {
        leave();
        makeWay();
      },
    });
    return { invite: invite?.name, allowed: () => this.#stillInvited(invite), connected, leave };
  }

  #countJoin(address: string): void {
    const { joinsPerMinutePerAddress } = this.#access.policy.limits;
    this.#joins.setCapacity(joinsPerMinutePerAddress);
    const waitMs = this.#joins.take(address);
    if (waitMs === 0) return;
    const seconds = Math.ceil(waitMs / 1000);
    throw new JoinRefused('limit', `Too many joins from your network address. Try again in ${seconds} s.`);
  }

  /** The tabs that have to make way for this one. */
  #checkRoom(address: string, donor: string, tab: string): Set<UnconnectedTab> {
    const { peersPerAddress, tabsPerDonor } = this.#access.policy.limits;
    if (this.#byDonor.others(donor, tab) >= tabsPerDonor) throw full('browser', tabsPerDonor);
    const replaced = new Set<UnconnectedTab>();
    for (const { key, share } of networksOf(address)) {
      const most = peersPerAddress * share;
      const waiting = this.#unconnected.of(key).filter((other) => other.tab !== tab);
      const tooMany = this.#byNetwork.others(key, tab) + 1 - most;
      const tooManyWaiting = waiting.length + 1 - MAX_UNCONNECTED_PER_ADDRESS * share;
      // The oldest first. Those of a narrower network are in the wider one too.
      for (const other of waiting) {
        const isLate = this.#nowMs() - other.sinceMs > CONNECTS_WITHIN_MS;
        if (isLate && replaced.size < Math.max(tooMany, tooManyWaiting)) replaced.add(other);
      }
      if (replaced.size < tooMany) throw full(share === 1 ? 'network address' : 'network', most);
      if (replaced.size < tooManyWaiting)
        throw new JoinRefused('limit', 'Many tabs of your network are still connecting. Try again in a few seconds.');
    }
    return replaced;
  }

  #checkInvite(token: string | undefined, tab: string): Invite | undefined {
    if (!this.#access.policy.inviteOnly) return undefined;
    const refuse = (message: string): JoinRefused => new JoinRefused('invite', message);
    if (token === undefined)
      throw refuse('This swarm is open to invited donors only. Ask its operator for an invitation.');
    const invite = this.#access.invite(token);
    if (!invite) throw refuse('This invitation is unknown or was withdrawn. Ask the operator for a new one.');
    if (this.#dateMs() >= invite.expiresMs)
      throw refuse('This invitation has expired. Ask the operator for a new one.');
    if (this.#byInvite.others(invite.name, tab) >= (invite.maxPeers ?? Number.POSITIVE_INFINITY))
      throw refuse(`This invitation allows ${count(invite.maxPeers!)} at a time, and all of its places are taken.`);
    return invite;
  }

  /** A tab may stay when its invitation expires, but not when it is withdrawn. */
  #stillInvited(invite: Invite | undefined): boolean {
    const { inviteOnly, invites } = this.#access.policy;
    if (!inviteOnly) return true;
    return invite !== undefined && invites.some(({ digest }) => digest.equals(invite.digest));
  }
}

const count = (tabs: number): string => `${tabs} ${tabs === 1 ? 'tab' : 'tabs'}`;

function full(what: string, limit: number): JoinRefused {
  return new JoinRefused('limit', `Your ${what} already has ${count(limit)} in the swarm, which is the limit.`);
}

/** Counts the distinct tabs in each place. A tab may be in a place more than once. */
class Occupancy {
  readonly #kind: string;
  readonly #places = new Map<string, string[]>();
  elsewhere: TabsElsewhere | undefined;

  constructor(kind: string) {
    this.#kind = kind;
  }

  /** Number of tabs other than `tab`, here and elsewhere: a tab that comes from there is one tab. */
  others(place: string, tab: string): number {
    const tabs = new Set(this.#places.get(place));
    for (const other of this.elsewhere?.in(`${this.#kind} ${place}`) ?? []) tabs.add(other);
    tabs.delete(tab);
    return tabs.size;
  }

  /** Returns a function that leaves again. */
  enter(place: string, tab: string): () => void {
    const tabs = this.#places.get(place) ?? [];
    this.#places.set(place, tabs);
    tabs.push(tab);
    const tell = (): void => this.elsewhere?.tell(`${this.#kind} ${place}`, [...new Set(tabs)]);
    tell();
    let inside = true;
    return () => {
      if (!inside) return;
      inside = false;
      tabs.splice(tabs.indexOf(tab), 1);
      if (tabs.length === 0) this.#places.delete(place);
      tell();
    };
  }
}

import type { RefusalCode } from '@shoal/protocol';
import type { Access } from './access.ts';
import type { Invite } from './access-file.ts';
import { addressKey } from '../base/address.ts';
import { digestOf } from './token.ts';
import { type Clock, KeyedBuckets } from './token-bucket.ts';

const MINUTE_MS = 60_000;

export interface Caller {
  address: string;
  donorToken: string;
  /** Which of the donor's tabs; without it the only one. */
  tab?: number | undefined;
  inviteToken?: string | undefined;
}

/** A place at the door: held while its tab is in the swarm. */
export interface Place {
  /** By name; undefined in an open swarm. */
  invite: string | undefined;
  /** Whether the rules of now would still let it in. */
  allowed(): boolean;
  /** May be called twice. */
  leave(): void;
}

/** Not let in; code and message are for the donor. */
export class DoorError extends Error {
  readonly reason: Extract<RefusalCode, 'invite' | 'limit'>;
  constructor(reason: DoorError['reason'], message: string) {
    super(message);
    this.name = 'DoorError';
    this.reason = reason;
  }
}

/** What is asked of a donor before anything costly is done for them: an invitation, and that their address is within its limits. */
export class DonorDoor {
  readonly #access: Access;
  readonly #joins: KeyedBuckets;
  readonly #byAddress = new Occupancy();
  readonly #byDonor = new Occupancy();
  readonly #byInvite = new Occupancy();
  /** As Date.now() counts, for invitations that expire. */
  readonly #dateMs: Clock;

  constructor(access: Access, { clock, dateMs = Date.now }: { clock?: Clock; dateMs?: Clock } = {}) {
    this.#access = access;
    this.#dateMs = dateMs;
    this.#joins = new KeyedBuckets(access.policy.limits.joinsPerMinutePerAddress, MINUTE_MS, clock && { clock });
  }

  /** Throws a DoorError. */
  enter(caller: Caller): Place {
    const { limits } = this.#access.policy;
    const key = addressKey(caller.address);
    const donor = digestOf(caller.donorToken).toString('base64url');
    // A tab that comes again replaces itself: so tabs are counted, not sockets.
    const tab = `${donor}/${caller.tab ?? 0}`;
    this.#joins.setCapacity(limits.joinsPerMinutePerAddress);
    const waitMs = this.#joins.of(key).take();
    if (waitMs > 0) {
      const seconds = Math.ceil(waitMs / 1000);
      throw new DoorError('limit', `Your network address has joined too often lately. It may again in ${seconds} s.`);
    }
    const invite = this.#checkInvite(caller.inviteToken, tab);
    if (this.#byAddress.others(key, tab) >= limits.peersPerAddress) {
      const tabs = limits.peersPerAddress === 1 ? 'tab' : 'tabs';
      throw new DoorError(
        'limit',
        `Your network address has its ${limits.peersPerAddress} ${tabs} in the swarm already.`,
      );
    }
    if (this.#byDonor.others(donor, tab) >= limits.tabsPerDonor) {
      const tabs = limits.tabsPerDonor === 1 ? 'tab' : 'tabs';
      throw new DoorError('limit', `Your browser has its ${limits.tabsPerDonor} ${tabs} in the swarm already.`);
    }
    const leaveAddress = this.#byAddress.enter(key, tab);
    const leaveDonor = this.#byDonor.enter(donor, tab);
    const leaveInvite = invite && this.#byInvite.enter(invite.name, tab);
    return {
      invite: invite?.name,
      allowed: () => this.#stillInvited(invite),
      leave: () => {
        leaveAddress();
        leaveDonor();
        leaveInvite?.();
      },
    };
  }

  #checkInvite(token: string | undefined, tab: string): Invite | undefined {
    if (!this.#access.policy.inviteOnly) return undefined;
    if (token === undefined) throw new DoorError('invite', 'This swarm takes invited donors only.');
    const invite = this.#access.invite(token);
    if (!invite) throw new DoorError('invite', 'This invitation is not, or no longer, known here.');
    if (this.#dateMs() >= invite.expiresMs) throw new DoorError('invite', 'This invitation has expired.');
    if (this.#byInvite.others(invite.name, tab) >= (invite.maxPeers ?? Number.POSITIVE_INFINITY)) {
      throw new DoorError('invite', `This invitation is for ${invite.maxPeers} at a time, and so many are here.`);
    }
    return invite;
  }

  /** An invitation that has merely expired lets those stay who are in. */
  #stillInvited(invite: Invite | undefined): boolean {
    const { inviteOnly, invites } = this.#access.policy;
    if (!inviteOnly) return true;
    return invite !== undefined && invites.some(({ digest }) => digest.equals(invite.digest));
  }
}

/** How many different tabs are in each place; a tab may be in it more than once. */
class Occupancy {
  readonly #places = new Map<string, Map<string, number>>();

  /** Without `tab`. */
  others(place: string, tab: string): number {
    const tabs = this.#places.get(place);
    return tabs ? tabs.size - (tabs.has(tab) ? 1 : 0) : 0;
  }

  /** Returns the call that leaves again. */
  enter(place: string, tab: string): () => void {
    const tabs = this.#places.get(place) ?? new Map<string, number>();
    this.#places.set(place, tabs);
    tabs.set(tab, (tabs.get(tab) ?? 0) + 1);
    let inside = true;
    return () => {
      if (!inside) return;
      inside = false;
      const left = tabs.get(tab)! - 1;
      if (left > 0) tabs.set(tab, left);
      else tabs.delete(tab);
      if (tabs.size === 0) this.#places.delete(place);
    };
  }
}

import { EventEmitter } from 'node:events';
import { BlockList, isIP, isIPv4, isIPv6 } from 'node:net';
import type { BanView } from '@shoal/protocol';

/** Of those that are in force. Every tab that joins is compared with all of them. */
export const MAX_BANS = 2_000;

/** A donor, one of its tabs, or a network that operators keep out. Times are dates in epoch milliseconds. */
export interface Ban extends Omit<BanView, 'at' | 'until'> {
  atMs: number;
  /** Infinity: until it is lifted. */
  untilMs: number;
}
export type NewBan = Omit<Ban, 'id' | 'atMs'>;

/** Takes quarantines of this key (`Quarantine`) away that began before. */
export interface LiftedQuarantine {
  key: string;
  atMs: number;
}

export interface BannedTab {
  /** Hash of the donor's key, or of its token. */
  donorId: string;
  /** Hash of its token, if the donor is its key: dropping one of the two ends no ban. */
  tokenId?: string | undefined;
  /** Number of the tab among the donor's. */
  tab: number;
  address: string;
}

/** Where bans outlive the coordinator, and are the same for all that use the same database. */
export interface BanStore {
  add(ban: NewBan): Promise<void>;
  /** Resolves to whether there was one. */
  lift(id: number, by: string): Promise<boolean>;
  liftQuarantine(key: string, by: string): Promise<void>;
}

export class BanError extends Error {
  readonly reason: 'invalid' | 'full' | 'unknown' | 'away';
  constructor(reason: BanError['reason'], message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = 'BanError';
    this.reason = reason;
  }
}

/** The bans and drains in force, in memory. `changed`: there are others now. `lifted`: a quarantine is to end. */
export class Bans extends EventEmitter<{ changed: []; lifted: [LiftedQuarantine] }> {
  readonly #nowMs: () => number;
  #all: readonly Ban[] = [];
  #networks = new Map<number, BlockList>();
  #store: BanStore | undefined;
  #nextId = 1;

  /** @param nowMs epoch milliseconds, since bans end at a date */
  constructor(nowMs: () => number = Date.now) {
    super();
    this.#nowMs = nowMs;
  }

  /** Those in force, the newest first. */
  get all(): readonly Ban[] {
    return this.#all.filter(({ untilMs }) => untilMs > this.#nowMs());
  }

  /** What keeps this tab out: a ban before a drain, and then the one that ends last. */
  of({ donorId, tokenId = donorId, tab, address }: BannedTab): Ban | undefined {
    const isOwn = (subject: string): boolean => {
      const [kind, ...ids] = subject.split(' ');
      return kind === 'donor' ? ids.includes(donorId) || ids.includes(tokenId) : subject === `tab ${donorId}/${tab}`;
    };
    const found = this.all.filter(
      ({ id, subject }) => isOwn(subject) || (this.#networks.get(id) && isIn(this.#networks.get(id)!, address)),
    );
    return found.toSorted((a, b) => a.kind.localeCompare(b.kind) || b.untilMs - a.untilMs)[0];
  }

  /** Keeps somebody out from now on. Rejects with a BanError. */
  async add(ban: NewBan): Promise<void> {
    const network = /^network (.*)$/.exec(ban.subject)?.[1];
    if (network !== undefined) blockListOf(network);
    if (this.all.length >= MAX_BANS) {
      throw new BanError(
        'full',
        `There are ${MAX_BANS} bans already. Lift some, or ban a network instead of its donors.`,
      );
    }
    if (this.#store) return this.#store.add(ban);
    this.replace([{ ...ban, id: this.#nextId++, atMs: this.#nowMs() }, ...this.all]);
  }

  /** Lets somebody in again. Rejects with a BanError. */
  async lift(id: number, by: string): Promise<Ban> {
    const ban = this.all.find((one) => one.id === id);
    const isKnown = ban !== undefined && (await (this.#store?.lift(id, by) ?? true));
    if (!isKnown) throw new BanError('unknown', `There is no ban ${id} in force; it may have ended or been lifted.`);
    if (!this.#store) this.replace(this.all.filter((one) => one.id !== id));
    return ban;
  }

  /** Ends a quarantine here, and at all coordinators of the database. */
  async liftQuarantine(key: string, by: string): Promise<void> {
    if (this.#store) await this.#store.liftQuarantine(key, by);
    else this.emit('lifted', { key, atMs: this.#nowMs() });
  }

  keepIn(store: BanStore): void {
    this.#store = store;
  }

  /** Takes up what is in force, the newest first. */
  replace(all: readonly Ban[]): void {
    const isOther = JSON.stringify(all) !== JSON.stringify(this.#all);
    this.#all = all;
    this.#networks = new Map(
      all.flatMap(({ id, subject }) => {
        const network = /^network (.*)$/.exec(subject)?.[1];
        return network === undefined ? [] : [[id, blockListOf(network)] as const];
      }),
    );
    if (isOther) this.emit('changed');
  }
}

/** The addresses of `10.1.2.3`, `10.1.0.0/16` or `2001:db8::/48`. Throws a BanError. */
function blockListOf(network: string): BlockList {
  const [address = '', prefix, ...rest] = network.split('/');
  const list = new BlockList();
  const family = isIPv6(address) ? 'ipv6' : 'ipv4';
  const longest = family === 'ipv6' ? 128 : 32;
  // A shorter one would keep out a large part of the Internet by a slip of the hand.
  const shortest = family === 'ipv6' ? 16 : 8;
  const bits = prefix === undefined ? longest : /^\d+$/.test(prefix) ? Number(prefix) : -1;
  if (isIP(address) === 0 || rest.length > 0 || bits > longest || bits < shortest) {
    const message =
      `"${network.slice(0, 64)}" is no network. Write an address, as 10.1.2.3, or a network as 10.1.0.0/16 or ` +
      '2001:db8::/48 (at least /8, or /16 of IPv6).';
    throw new BanError('invalid', message);
  }
  list.addSubnet(address, bits, family);
  return list;
}

const isIn = (list: BlockList, address: string): boolean =>
  isIP(address) !== 0 && list.check(address, isIPv4(address) ? 'ipv4' : 'ipv6');

/** A ban as admins see it. */
export function banView({ atMs, untilMs, ...ban }: Ban): BanView {
  const until = Number.isFinite(untilMs) ? new Date(untilMs).toISOString() : null;
  return { ...ban, at: new Date(atMs).toISOString(), until };
}

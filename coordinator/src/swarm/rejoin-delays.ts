import { foreignNetworks } from '../base/address.ts';
import { setNewest } from '../base/newest.ts';
import { donorEntries, type Suspect } from '../trust/quarantine.ts';

const MINUTE_MS = 60_000;
/** After this long without another, what happened before is forgotten. */
const FORGOTTEN_AFTER_MS = 30 * MINUTE_MS;
const DONOR = {
  /** A driver that was reset, or a laptop that slept, costs nothing. */
  free: 1,
  firstMs: MINUTE_MS,
  growth: 4,
  longestMs: 60 * MINUTE_MS,
};
/** A name is free, so an address counts too; but a household on a bad line has many tabs. */
const NETWORK = { free: 8, firstMs: MINUTE_MS, growth: 2, longestMs: 10 * MINUTE_MS };
/** What a visit counts that the tab ended itself: a donor who moves the slider while loading does so a few times. */
const UNFINISHED = 0.25;
const SAME_MOMENT_MS = 5_000;
/** Donors and networks remembered, at about 100 B each. */
const MAX_ENTRIES = 20_000;

interface Entry {
  visits: number;
  atMs: number;
  untilMs: number;
}

/** A visit that was of no use, or ended before it was of any. */
export interface Visit extends Suspect {
  hasServed: boolean;
}

/**
 * How long donors have to stay away whose visits were of no use: they failed laps, loaded nothing, or flooded the coordinator.
 * Each such visit costs everyone a download, a test and some laps, so the same donor is let in again at once only the first
 * time, and only if it had served.
 */
export class RejoinDelays {
  readonly #entries = new Map<string, Entry>();
  readonly #counted = new WeakSet<object>();
  readonly #now: () => number;

  /** @param now monotonic, in milliseconds */
  constructor(now: () => number) {
    this.#now = now;
  }

  /** Counts a visit that the coordinator ends, once: twice as much if not one expert served in it. */
  useless(visit: Visit): void {
    this.#add(visit, visit.hasServed ? 1 : 2, 1);
  }

  /** Counts a visit that the tab ended before it had served, though experts were given to it: a donor may change their mind. */
  unfinished(visit: Visit): void {
    this.#add(visit, UNFINISHED, UNFINISHED);
  }

  #add(visit: Visit, forDonor: number, forNetwork: number): void {
    if (this.#counted.has(visit)) return;
    this.#counted.add(visit);
    const before = this.#entries.get(`donor ${visit.donorId}`);
    // All tabs of a donor suffer from the same bad moment of its line.
    const isSameMoment =
      forDonor >= 1 && before !== undefined && this.#now() - before.atMs < SAME_MOMENT_MS && before.visits >= 1;
    if (isSameMoment) return;
    for (const key of donorEntries(visit)) this.#count(key, forDonor, DONOR, 1);
    for (const { key: network, share } of foreignNetworks(visit.address))
      this.#count(`network ${network}`, forNetwork, NETWORK, share);
  }

  /** Milliseconds until this donor may join; 0 if it may now. A donor that has proven itself does not wait for its network. */
  waitMs({ address, ...donor }: Suspect, isProven = false): number {
    const networks = isProven ? [] : foreignNetworks(address);
    const keys = [...donorEntries(donor), ...networks.map(({ key }) => `network ${key}`)];
    return Math.max(0, ...keys.map((key) => (this.#entries.get(key)?.untilMs ?? 0) - this.#now()));
  }

  #count(key: string, more: number, { free, firstMs, growth, longestMs }: typeof DONOR, share: number): void {
    const nowMs = this.#now();
    const before = this.#entries.get(key);
    const isForgotten = before === undefined || nowMs - Math.max(before.atMs, before.untilMs) > FORGOTTEN_AFTER_MS;
    const visits = more + (isForgotten ? 0 : before.visits);
    const over = visits - free * share;
    const waitMs = over > 0 ? Math.min(longestMs, firstMs * growth ** (over - 1)) : 0;
    setNewest(this.#entries, key, { visits, atMs: nowMs, untilMs: nowMs + waitMs }, MAX_ENTRIES);
  }
}

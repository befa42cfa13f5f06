import { isIP } from 'node:net';
import { addressKey } from '../base/address.ts';
import { setNewest } from '../base/newest.ts';

/*
 * Each failure quarantines its donor for a base time, four times as long for each earlier failure that is still remembered;
 * failures fade with a time constant of a day (weight e^(−t/24 h)).
 *
 * Donors are identified by token. Since a token is free, this stops the honest owner of a broken GPU, but a liar only until it
 * makes another. An address may be shared by a household or a campus, so it is quarantined only after more than two failures.
 * Loopback is exempt, because behind a reverse proxy on the same machine every donor has it.
 */
const HOUR_MS = 3_600_000;
export const FAILURE_FADES_MS = 24 * HOUR_MS;
export const DONOR_BASE_MS = HOUR_MS;
export const ADDRESS_BASE_MS = HOUR_MS / 6;
const GROWTH = 4;
const LONGEST_MS = 7 * 24 * HOUR_MS;
/** Weight of failures from which an address, or a donor that did no harm, is quarantined: the third within hours. */
const TOLERANCE = 2.5;
/** Donors and addresses remembered, at about 100 B each. */
const MAX_ENTRIES = 20_000;

interface Entry {
  /** Weight of the failures at `atMs`. */
  failures: number;
  atMs: number;
  untilMs: number;
}

export interface Suspect {
  /** Hash of the donor's token. */
  donorId: string;
  address: string;
}

export class Quarantine {
  readonly #entries = new Map<string, Entry>();
  readonly #now: () => number;
  /** Donors quarantined since startup. */
  total = 0;

  constructor(now: () => number = Date.now) {
    this.#now = now;
  }

  /** When the quarantine of this donor or address ends, in epoch milliseconds; undefined if there is none. */
  until({ donorId, address }: Suspect): number | undefined {
    const entries = [`donor ${donorId}`, addressEntry(address)].flatMap((key) => this.#entries.get(key) ?? []);
    const untilMs = Math.max(...entries.map((entry) => entry.untilMs));
    return untilMs > this.#now() ? untilMs : undefined;
  }

  /** Donors and addresses in quarantine. */
  get size(): number {
    return [...this.#entries.values()].filter((entry) => entry.untilMs > this.#now()).length;
  }

  /**
   * Counts a failure. Returns when the donor's quarantine ends, which is in the past if there is none. A `harmless` failure was
   * found before any work was used: the owner of an overfull GPU may try twice more with less memory.
   */
  add({ donorId, address }: Suspect, harmless = false): number {
    const donor = this.#fail(`donor ${donorId}`, DONOR_BASE_MS, harmless ? TOLERANCE : 1);
    if (isForeign(address)) this.#fail(addressEntry(address), ADDRESS_BASE_MS, TOLERANCE);
    if (donor.untilMs > this.#now()) this.total++;
    return donor.untilMs;
  }

  #fail(key: string, baseMs: number, tolerance: number): Entry {
    const nowMs = this.#now();
    const before = this.#entries.get(key);
    const faded = before ? before.failures * Math.exp((before.atMs - nowMs) / FAILURE_FADES_MS) : 0;
    const failures = faded + 1;
    const durationMs = Math.min(LONGEST_MS, baseMs * GROWTH ** (failures - tolerance));
    const untilMs = failures >= tolerance ? nowMs + durationMs : Number.NEGATIVE_INFINITY;
    return setNewest(this.#entries, key, { failures, atMs: nowMs, untilMs }, MAX_ENTRIES);
  }
}

const addressEntry = (address: string): string => `address ${addressKey(address)}`;

function isForeign(address: string): boolean {
  return isIP(address) !== 0 && address !== '::1' && !/^(::ffff:)?127\./.test(address);
}

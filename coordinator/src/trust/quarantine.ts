import { isIP } from 'node:net';
import { addressKey } from '../base/address.ts';

/**
 * Who is kept out after wrong results, and until when. Each failure keeps its donor out for a base time, four times as long
 * for each earlier one that is still remembered; failures fade with a time constant of a day (weight e^(−t/24 h)).
 *
 * By token: a token is free, so this holds the honest owner of a broken GPU off, and a liar only until it makes another. By
 * address: a household or a campus shares one, so an address is kept out only when failures at it add up to more than two.
 * Loopback is exempt: behind a reverse proxy on the same machine it is everybody's address.
 */
const HOUR_MS = 3_600_000;
export const FAILURE_FADES_MS = 24 * HOUR_MS;
export const DONOR_BASE_MS = HOUR_MS;
export const ADDRESS_BASE_MS = HOUR_MS / 6;
const GROWTH = 4;
const LONGEST_MS = 7 * 24 * HOUR_MS;
/** Remembered weight of failures from which an address is kept out, or who did no harm: the third within hours. */
const TOLERANCE = 2.5;
/** Donors and addresses that are remembered, each at about 100 B. */
const MAX_ENTRIES = 20_000;

interface Entry {
  /** Faded number of failures as of `atMs`. */
  failures: number;
  atMs: number;
  untilMs: number;
}

export interface Suspect {
  /** A hash of the donor's token. */
  donorId: string;
  address: string;
}

export class Quarantine {
  readonly #entries = new Map<string, Entry>();
  readonly #now: () => number;
  /** Peers that were kept out since start. */
  total = 0;

  constructor(now: () => number = Date.now) {
    this.#now = now;
  }

  /** Until when (epoch milliseconds) this donor or address is kept out; undefined if it is not. */
  until({ donorId, address }: Suspect): number | undefined {
    const untilMs = Math.max(...[`donor ${donorId}`, addressEntry(address)].map((key) => this.#untilMs(key)));
    return untilMs > this.#now() ? untilMs : undefined;
  }

  /** Donors and addresses that are kept out now. */
  get size(): number {
    return [...this.#entries.values()].filter((entry) => entry.untilMs > this.#now()).length;
  }

  /**
   * Count a failure; returns until when they are kept out (the past, if not at all). A `harmless` one was found before any of
   * the work was used: the owner of an overfull GPU may lend less memory and try again, twice.
   */
  add({ donorId, address }: Suspect, harmless = false): number {
    const donor = this.#fail(`donor ${donorId}`, DONOR_BASE_MS, harmless ? TOLERANCE : 1);
    if (isForeign(address)) this.#fail(addressEntry(address), ADDRESS_BASE_MS, TOLERANCE);
    if (donor.untilMs > this.#now()) this.total++;
    return donor.untilMs;
  }

  #untilMs(key: string): number {
    return this.#entries.get(key)?.untilMs ?? Number.NEGATIVE_INFINITY;
  }

  #fail(key: string, baseMs: number, tolerance: number): Entry {
    const nowMs = this.#now();
    const before = this.#entries.get(key);
    const faded = before ? before.failures * Math.exp((before.atMs - nowMs) / FAILURE_FADES_MS) : 0;
    const failures = faded + 1;
    const durationMs = Math.min(LONGEST_MS, baseMs * GROWTH ** (failures - tolerance));
    const untilMs = failures >= tolerance ? nowMs + durationMs : Number.NEGATIVE_INFINITY;
    const entry = { failures, atMs: nowMs, untilMs };
    this.#entries.delete(key);
    this.#entries.set(key, entry);
    for (const oldest of this.#entries.keys()) {
      if (this.#entries.size <= MAX_ENTRIES) break;
      this.#entries.delete(oldest);
    }
    return entry;
  }
}

const addressEntry = (address: string): string => `address ${addressKey(address)}`;

function isForeign(address: string): boolean {
  return isIP(address) !== 0 && address !== '::1' && !/^(::ffff:)?127\./.test(address);
}

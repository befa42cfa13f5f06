import { isIP } from 'node:net';
import { addressKey } from '../access/address.ts';

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
/** Remembered weight of failures above which an address is kept out: the third within hours. */
const ADDRESS_TOLERANCE = 2.5;
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
  /** Failures since start. */
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

  /** Keep them out; returns until when. */
  add({ donorId, address }: Suspect): number {
    this.total++;
    const donor = this.#fail(`donor ${donorId}`);
    donor.untilMs = this.#now() + Math.min(LONGEST_MS, DONOR_BASE_MS * GROWTH ** (donor.failures - 1));
    if (isForeign(address)) {
      const place = this.#fail(addressEntry(address));
      const excess = place.failures - ADDRESS_TOLERANCE;
      if (excess > 0) place.untilMs = this.#now() + Math.min(LONGEST_MS, ADDRESS_BASE_MS * GROWTH ** excess);
    }
    return donor.untilMs;
  }

  #untilMs(key: string): number {
    return this.#entries.get(key)?.untilMs ?? Number.NEGATIVE_INFINITY;
  }

  #fail(key: string): Entry {
    const nowMs = this.#now();
    const before = this.#entries.get(key);
    const faded = before ? before.failures * Math.exp((before.atMs - nowMs) / FAILURE_FADES_MS) : 0;
    const entry = { failures: faded + 1, atMs: nowMs, untilMs: Number.NEGATIVE_INFINITY };
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

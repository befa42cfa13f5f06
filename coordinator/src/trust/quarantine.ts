import { type Network, foreignNetworks } from '../base/address.ts';
import { systemClock } from '../base/clock.ts';
import { setNewest } from '../base/newest.ts';

/*
 * Each failure quarantines its donor for a base time, four times as long for each earlier failure that is still remembered;
 * failures fade with a time constant of a day (weight e^(−t/24 h)).
 *
 * Donors are identified by token. Since a token is free, this stops the honest owner of a broken GPU, but a liar only until it
 * makes another. An address may be shared by a household or a campus, so it is quarantined only after more than two failures,
 * and the wider networks of an IPv6 address after as many times more as they have shares.
 * Loopback is exempt, because behind a reverse proxy on the same machine every donor has it.
 */
const HOUR_MS = 3_600_000;
export const FAILURE_FADES_MS = 24 * HOUR_MS;
export const DONOR_BASE_MS = HOUR_MS;
export const ADDRESS_BASE_MS = HOUR_MS / 6;
const GROWTH = 4;
const LONGEST_MS = 7 * 24 * HOUR_MS;
/** Failures within hours from which an address, or a donor that did no harm, is quarantined. */
const TOLERATED = 3;
/** What those before the last may have faded by. */
const FADED = 0.5;
/** Donors and addresses remembered, at about 100 B each. */
export const MAX_ENTRIES = 20_000;
/** Weight below which failures of a donor who is in no quarantine are forgotten: after three days. */
const FORGOTTEN = 0.05;

/** Times are the clock's, so that a computer clock that is set neither ends nor lengthens a quarantine. */
interface Entry {
  /** Weight of the failures at `atMs`. */
  failures: number;
  atMs: number;
  /** −Infinity if there is no quarantine. */
  untilMs: number;
}

/** An entry in epoch milliseconds, as it is kept over a restart. */
export interface KeptEntry {
  /** `donor HASH`, or `address ADDRESS` with an IPv4 address or an IPv6 network. */
  key: string;
  failures: number;
  at: number;
  until: number | null;
}

export interface Suspect {
  /** Hash of the donor's key, or of its token. */
  donorId: string;
  /** Hash of its token, if the donor is its key: dropping one of the two ends no quarantine. */
  tokenId?: string | undefined;
  address: string;
}

export interface QuarantineClocks {
  /** Milliseconds that never go back. */
  now(): number;
  /** Epoch milliseconds, for people and for what is kept over a restart. */
  epochNow(): number;
}

export class Quarantine {
  readonly #entries = new Map<string, Entry>();
  /** By key, failures up to this time on the clock are forgiven. */
  readonly #lifted = new Map<string, number>();
  readonly #clocks: QuarantineClocks;
  /** Donors quarantined since startup. */
  total = 0;
  /** Called after each failure, with the entries that it has changed. */
  onChange: (changed: readonly KeptEntry[]) => void = () => {};

  constructor(clocks: QuarantineClocks = { now: systemClock.now, epochNow: Date.now }) {
    this.#clocks = clocks;
  }

  /** When the quarantine of this donor or address ends, in epoch milliseconds; undefined if there is none. */
  until({ address, ...donor }: Suspect): number | undefined {
    const keys = [...donorEntries(donor), ...foreignNetworks(address).map(addressEntry)];
    const entries = keys.flatMap((key) => this.#entry(key) ?? []);
    const untilMs = Math.max(...entries.map((entry) => entry.untilMs));
    return untilMs > this.#clocks.now() ? this.#toEpoch(untilMs) : undefined;
  }

  /** Donors and addresses in quarantine. */
  get size(): number {
    const nowMs = this.#clocks.now();
    return [...this.#entries.keys()].filter((key) => (this.#entry(key)?.untilMs ?? 0) > nowMs).length;
  }

  /** Donors and networks in quarantine, and until when in epoch milliseconds. */
  list(): { key: string; untilMs: number }[] {
    const nowMs = this.#clocks.now();
    return [...this.#entries.keys()].flatMap((key) => {
      const { untilMs = Number.NEGATIVE_INFINITY } = this.#entry(key) ?? {};
      return untilMs > nowMs ? [{ key, untilMs: this.#toEpoch(untilMs) }] : [];
    });
  }

  /** Forgives all failures of this key up to a time in epoch milliseconds, also those that others still tell of. */
  lift(key: string, atEpochMs: number): void {
    const atMs = atEpochMs - this.#clocks.epochNow() + this.#clocks.now();
    setNewest(this.#lifted, key, Math.max(atMs, this.#lifted.get(key) ?? atMs), MAX_ENTRIES);
  }

  /** Undefined where there are no failures, or they were forgiven. */
  #entry(key: string): Entry | undefined {
    const entry = this.#entries.get(key);
    const liftedMs = this.#lifted.get(key);
    return entry && liftedMs !== undefined && entry.atMs <= liftedMs ? undefined : entry;
  }

  /**
   * Counts a failure. Returns when the donor's quarantine ends in epoch milliseconds, −Infinity if there is none. A `harmless`
   * failure was found before any work was used: the owner of an overfull GPU may try twice more with less memory.
   */
  add({ address, ...ids }: Suspect, harmless = false): number {
    const changed = new Map<string, Entry>();
    for (const key of donorEntries(ids))
      changed.set(key, this.#fail(key, DONOR_BASE_MS, harmless ? TOLERATED - FADED : 1));
    // An earlier failure under one of the two lengthens the quarantine.
    const untilMs = Math.max(...[...changed.values()].map((entry) => entry.untilMs));
    for (const network of foreignNetworks(address)) {
      const entry = this.#fail(addressEntry(network), ADDRESS_BASE_MS, TOLERATED * network.share - FADED);
      changed.set(addressEntry(network), entry);
    }
    if (untilMs > this.#clocks.now()) this.total++;
    this.onChange([...changed].map(([name, entry]) => this.#kept(name, entry)));
    return this.#toEpoch(untilMs);
  }

  /** What is to be kept over a restart, of these keys or of all. */
  kept(keys: Iterable<string> = this.#entries.keys()): KeptEntry[] {
    const nowMs = this.#clocks.now();
    const kept: KeptEntry[] = [];
    for (const key of keys) {
      const entry = this.#entry(key);
      if (entry && (entry.untilMs > nowMs || fadedAt(nowMs, entry.failures, entry.atMs) >= FORGOTTEN))
        kept.push(this.#kept(key, entry));
    }
    return kept;
  }

  /** Takes up what was kept. A quarantine lasts no longer than any could, whatever the computer's clock said before. */
  restore(kept: readonly KeptEntry[]): void {
    const nowMs = this.#clocks.now();
    const fromEpoch = (epochMs: number): number => epochMs - this.#clocks.epochNow() + nowMs;
    for (const { key, failures, at, until } of kept) {
      const untilMs = until === null ? Number.NEGATIVE_INFINITY : Math.min(fromEpoch(until), nowMs + LONGEST_MS);
      setNewest(this.#entries, key, { failures, atMs: Math.min(fromEpoch(at), nowMs), untilMs }, MAX_ENTRIES);
    }
  }

  #kept(key: string, { failures, atMs, untilMs }: Entry): KeptEntry {
    const until = untilMs > this.#clocks.now() ? this.#toEpoch(untilMs) : null;
    return { key, failures, at: this.#toEpoch(atMs), until };
  }

  /** What is remembered of a donor and its address. */
  entriesOf({ address, ...donor }: Suspect): KeptEntry[] {
    return this.kept([...donorEntries(donor), ...foreignNetworks(address).map(addressEntry)]);
  }

  /** Takes up what another coordinator has found: the longer quarantine and the greater weight of failures hold. */
  merge(entries: readonly KeptEntry[]): void {
    const nowMs = this.#clocks.now();
    this.restore(
      entries.map((entry) => {
        const [known] = this.kept([entry.key]);
        if (!known) return entry;
        const untilMs = Math.max(known.until ?? 0, entry.until ?? 0);
        const [older, newer] = known.at < entry.at ? [known, entry] : [entry, known];
        const failures = Math.max(newer.failures, fadedAt(newer.at, older.failures, older.at));
        return { key: entry.key, failures, at: newer.at, until: untilMs > this.#toEpoch(nowMs) ? untilMs : null };
      }),
    );
  }

  /** Remembers a donor's failures under its token as well: they may have been counted where only its key is known. */
  spread({ donorId, tokenId = donorId }: Suspect): void {
    if (tokenId === donorId) return;
    this.merge(this.kept([`donor ${donorId}`]).map((entry) => ({ ...entry, key: `donor ${tokenId}` })));
  }

  #toEpoch(atMs: number): number {
    return Math.round(this.#clocks.epochNow() + atMs - this.#clocks.now());
  }

  #fail(key: string, baseMs: number, tolerance: number): Entry {
    const nowMs = this.#clocks.now();
    const before = this.#entry(key);
    const failures = (before ? fadedAt(nowMs, before.failures, before.atMs) : 0) + 1;
    const durationMs = Math.min(LONGEST_MS, baseMs * GROWTH ** (failures - tolerance));
    const untilMs = failures >= tolerance ? nowMs + durationMs : Number.NEGATIVE_INFINITY;
    return setNewest(this.#entries, key, { failures, atMs: nowMs, untilMs }, MAX_ENTRIES);
  }
}

const fadedAt = (nowMs: number, failures: number, atMs: number): number =>
  failures * Math.exp((atMs - nowMs) / FAILURE_FADES_MS);

/** Under which names a donor is remembered. */
export const donorEntries = ({ donorId, tokenId }: Omit<Suspect, 'address'>): string[] =>
  [...new Set([donorId, tokenId ?? donorId])].map((id) => `donor ${id}`);

const addressEntry = ({ key }: Network): string => `address ${key}`;

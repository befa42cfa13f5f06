import { MAX_TABS_PER_DONOR } from '@shoal/protocol';
import type { LimitsStorage } from './settings.ts';
import { dateOf, type LocalMoment, monthOf } from './local-time.ts';

const KEY = 'shoal.traffic.';
/** Days that are kept: this month and the one before it. */
const KEPT_DAYS = 62;
/** A tab that has written within this time is taken to be open. */
const OPEN_MS = 10_000;

interface TabPage {
  /** Bytes by date. */
  days: Record<string, number>;
  /** When it was written last, in milliseconds of Unix. */
  seenMs: number;
}

/**
 * Bytes that the tabs of this browser have sent and received, by day of the wall clock. Each tab writes what is its own, so that none
 * overwrites another's, and reads what all have written: the traffic is one budget.
 */
export class TrafficBook {
  readonly #storage: LimitsStorage;
  readonly #tab: number;
  /** By tab, as they were read last. */
  readonly #known = new Map<number, { text: string; page: TabPage }>();

  /** @param tab number of this tab among the donor's open ones */
  constructor(storage: LimitsStorage, tab: number) {
    this.#storage = storage;
    this.#tab = tab;
  }

  add(bytes: number, moment: LocalMoment, unixMs: number): void {
    const { days } = this.#read(this.#tab);
    const date = dateOf(moment);
    days[date] = (days[date] ?? 0) + bytes;
    const kept = Object.entries(days)
      .sort(([a], [b]) => (a < b ? 1 : -1))
      .slice(0, KEPT_DAYS);
    const page: TabPage = { days: Object.fromEntries(kept), seenMs: unixMs };
    this.#storage.setItem(`${KEY}${this.#tab}`, JSON.stringify(page));
  }

  /** What all tabs have used on this day and in this month, and how many of them are open, this one included. */
  used(moment: LocalMoment, unixMs: number): { dayBytes: number; monthBytes: number; tabs: number } {
    const [date, month] = [dateOf(moment), monthOf(moment)];
    let [dayBytes, monthBytes, tabs] = [0, 0, 1];
    for (let tab = 0; tab < MAX_TABS_PER_DONOR; tab++) {
      const { days, seenMs } = this.#read(tab);
      if (tab !== this.#tab && Math.abs(unixMs - seenMs) < OPEN_MS) tabs++;
      for (const [day, bytes] of Object.entries(days)) {
        if (day === date) dayBytes += bytes;
        if (day.startsWith(month)) monthBytes += bytes;
      }
    }
    return { dayBytes, monthBytes, tabs };
  }

  #read(tab: number): TabPage {
    const text = this.#storage.getItem(`${KEY}${tab}`);
    if (text === null) return { days: {}, seenMs: 0 };
    const known = this.#known.get(tab);
    if (known?.text === text) return known.page;
    const page = parsePage(text);
    this.#known.set(tab, { text, page });
    return page;
  }
}

function parsePage(text: string): TabPage {
  try {
    const { days, seenMs } = JSON.parse(text) as Partial<TabPage>;
    const entries = Object.entries(days ?? {}).filter(([, bytes]) => typeof bytes === 'number' && bytes >= 0);
    return { days: Object.fromEntries(entries), seenMs: typeof seenMs === 'number' ? seenMs : 0 };
  } catch {
    return { days: {}, seenMs: 0 };
  }
}

import { describe, expect, it } from 'vitest';
import { AllowanceWatch, type PeerHostStats } from '@shoal/peer';
import { isOpen } from './hours.ts';
import { LimitsKeeper } from './limits-keeper.ts';
import { dateOf, type LocalTime, monthOf } from './local-time.ts';
import type { Sensors } from './sensors.ts';
import { type LimitSettings, UNLIMITED } from './settings.ts';
import { MemoryStorage } from '../memory-storage.ts';
import { zoned } from './testing/limits-rig.ts';

const SECOND_MS = 1_000;
const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;
/** What a page's own timers and a worker's laps look at. */
const PAGE_MS = 60 * SECOND_MS;

const STEP_MS = 20 * SECOND_MS;

class FakeSensors implements Sensors {
  readonly tellsBattery = true;
  readonly tellsIdle = true;
  percent = 100;
  isCharging = true;
  inUse = false;
  battery() {
    return { isCharging: this.isCharging, percent: this.percent };
  }
  isInUse() {
    return this.inUse;
  }
  askForIdle() {
    return Promise.resolve(true);
  }
  watch(): void {}
}

/** One tab: its page, which looks every minute, and its worker, which has laps to do at all times. */
class Tab {
  readonly keeper: LimitsKeeper;
  readonly sensors: FakeSensors;
  isAsleep = false;
  /** Every lap that was computed. */
  readonly worked: { unixMs: number; bytes: number }[] = [];
  promised: unknown[] = [];
  #bytes = 0;
  readonly #watch: AllowanceWatch;
  readonly #now: () => number;

  constructor(storage: MemoryStorage, tab: number, local: LocalTime, sensors: FakeSensors, now: () => number) {
    this.#now = now;
    this.sensors = sensors;
    this.keeper = new LimitsKeeper({ storage, isKept: true, sensors, local, unixMs: now });
    this.#watch = new AllowanceWatch({
      trafficBytes: () => this.#bytes,
      onSpent: () => this.#tell(),
      unixMs: now,
    });
    this.keeper.begin(tab, {
      onAllowance: (allowance) => (this.#watch.allowance = allowance),
      onPromise: (promise) => this.promised.push(promise),
    });
  }

  /** Laps wait for it at all times, also in the moment in which a computer wakes, before any of its timers has run. */
  lap(bytes: number): void {
    if (this.isAsleep || !this.#watch.mayWork) return;
    this.#bytes += bytes;
    this.worked.push({ unixMs: this.#now(), bytes });
  }

  page(): void {
    if (!this.isAsleep) this.#tell();
  }

  #tell(): void {
    const fetched = { coordinator: 0, mirror: 0, tab: 0, given: 0 };
    const counters = { bytesSent: this.#bytes, bytesReceived: 0, laps: 0, rows: 0, computeUs: 0 };
    this.keeper.readStats({ ...counters, fetched } as PeerHostStats);
  }
}

interface Week {
  zone: string;
  from: string;
  settings: Partial<LimitSettings>;
  tabs?: number;
  days?: number;
  bytesASecond?: number;
  /** Called before each second. */
  happens?: (tabs: readonly Tab[], unixMs: number, sensors: FakeSensors) => void;
  /** Where the computer is; in its zone by default. */
  local?: LocalTime;
}

function live({ zone, from, settings, tabs: count = 1, days = 7, bytesASecond = 5e3, happens, local }: Week) {
  let nowMs = Date.parse(from);
  const storage = new MemoryStorage();
  const sensors = new FakeSensors();
  const place = local ?? zoned(zone);
  const tabs = Array.from({ length: count }, (_, i) => new Tab(storage, i, place, sensors, () => nowMs));
  for (const { keeper } of tabs) keeper.change({ ...UNLIMITED, ...settings });
  for (const endMs = nowMs + days * DAY_MS; nowMs < endMs; nowMs += STEP_MS) {
    happens?.(tabs, nowMs, sensors);
    for (const tab of tabs) tab.lap((STEP_MS / SECOND_MS) * bytesASecond);
    if (nowMs % PAGE_MS === 0) for (const tab of tabs) tab.page();
  }
  return { tabs, place, worked: tabs.flatMap(({ worked }) => worked) };
}

const NIGHT = { days: Array<boolean>(7).fill(true), fromMinute: 22 * 60, toMinute: 7 * 60 };

/** Hours worked, on the wall clock's days. */
function hoursOf(worked: readonly { unixMs: number }[]): number {
  return (worked.length * STEP_MS) / HOUR_MS;
}

describe('a week within hours', () => {
  it.each([
    // Clocks go back on the Sunday, and the night has ten hours.
    ['Europe/Berlin', '2026-10-19T10:00:00Z', 7 * 9 + 1],
    // Forward: the night has eight.
    ['Europe/Berlin', '2027-03-22T10:00:00Z', 7 * 9 - 1],
    ['America/New_York', '2026-10-26T14:00:00Z', 7 * 9 + 1],
    ['Asia/Kathmandu', '2026-11-02T05:15:00Z', 7 * 9],
    // Half an hour.
    ['Australia/Lord_Howe', '2026-09-28T02:00:00Z', 7 * 9 - 0.5],
  ])('in %s from %s lends in them and never outside', (zone, from, hours) => {
    const { worked, place } = live({ zone, from, settings: { hours: NIGHT } });
    expect(worked.filter(({ unixMs }) => !isOpen(NIGHT, place(unixMs)))).toEqual([]);
    // A page that looks every minute is that much late in the evening, once a day.
    expect(hoursOf(worked)).toBeGreaterThan(hours - (7 * 61) / 3600);
    expect(hoursOf(worked)).toBeLessThanOrEqual(hours);
  });

  it('keeps to them over sleep that begins inside and ends outside, also before any timer has run', () => {
    const { worked, place, tabs } = live({
      zone: 'Europe/Berlin',
      from: '2026-11-02T09:00:00Z',
      settings: { hours: NIGHT },
      happens: ([tab], unixMs) => {
        // Closed at 03:00 UTC, opened at 12:00; and from 18:00 to 23:30, so that an evening begins asleep.
        const hour = (unixMs % DAY_MS) / HOUR_MS;
        tab!.isAsleep = (hour >= 3 && hour < 12) || (hour >= 18 && hour < 23.5);
      },
    });
    expect(worked.filter(({ unixMs }) => !isOpen(NIGHT, place(unixMs)))).toEqual([]);
    expect(hoursOf(worked)).toBeGreaterThan(7 * 3.4);
    // It goes on, and says so.
    expect(tabs[0]!.promised.length).toBeGreaterThanOrEqual(7);
  });

  it('keeps to the wall clock of where the computer is, when it has travelled', () => {
    const zones = [zoned('Europe/Berlin'), zoned('America/New_York')] as const;
    const flightMs = Date.parse('2026-11-05T12:00:00Z');
    let here: 0 | 1 = 0;
    const local: LocalTime = (unixMs) => zones[here](unixMs);
    const { worked } = live({
      zone: 'Europe/Berlin',
      from: '2026-11-02T09:00:00Z',
      settings: { hours: NIGHT },
      local,
      happens: (_, unixMs) => (here = unixMs < flightMs ? 0 : 1),
    });
    const outside = worked.filter(({ unixMs }) => !isOpen(NIGHT, zones[unixMs < flightMs ? 0 : 1](unixMs)));
    expect(outside).toEqual([]);
    expect(hoursOf(worked)).toBeGreaterThan(55);
  });
});

describe('traffic', () => {
  const sumBy = (worked: Tab['worked'], key: (unixMs: number) => string): number[] => {
    const sums = new Map<string, number>();
    for (const { unixMs, bytes } of worked) sums.set(key(unixMs), (sums.get(key(unixMs)) ?? 0) + bytes);
    return [...sums.values()];
  };

  it('of three tabs together stays within a day’s limit, which each day brings anew', () => {
    const dayBytes = 200e6;
    const { worked, place } = live({
      zone: 'Europe/Berlin',
      from: '2026-10-19T10:00:00Z',
      settings: { dayBytes },
      tabs: 3,
      days: 4,
    });
    const days = sumBy(worked, (unixMs) => dateOf(place(unixMs)));
    expect(days).toHaveLength(5);
    expect(Math.max(...days)).toBeLessThanOrEqual(1.02 * dayBytes);
    // They use what they may, but for the first day, which begins at noon, and the last.
    expect(days.slice(0, -1).every((bytes) => bytes > 0.97 * dayBytes)).toBe(true);
  });

  it('stays within a month’s limit, over the end of the month', () => {
    const monthBytes = 500e6;
    const { worked, place } = live({
      zone: 'America/New_York',
      from: '2026-10-28T14:00:00Z',
      settings: { monthBytes },
    });
    const months = sumBy(worked, (unixMs) => monthOf(place(unixMs)));
    expect(months).toHaveLength(2);
    expect(Math.max(...months)).toBeLessThanOrEqual(1.02 * monthBytes);
    expect(Math.min(...months)).toBeGreaterThan(0.97 * monthBytes);
  });

  it('of a page that sleeps stays within them too, since the worker counts for itself', () => {
    const { worked } = live({
      zone: 'Europe/Berlin',
      from: '2026-11-02T00:00:00Z',
      settings: { dayBytes: 100e6 },
      days: 0.5,
      bytesASecond: 100e3,
      // Nothing of the page runs after the first minutes.
      happens: ([tab], unixMs) => {
        if (unixMs > Date.parse('2026-11-02T00:05:00Z')) tab!.page = () => {};
      },
    });
    const bytes = worked.reduce((sum, lap) => sum + lap.bytes, 0);
    expect(bytes).toBeLessThanOrEqual(102e6);
    expect(bytes).toBeGreaterThan(95e6);
  });
});

describe('what the computer is like', () => {
  it('decides over a week of plugging, unplugging and use, and each rest ends by itself', () => {
    const rests = (sensors: FakeSensors): boolean => sensors.inUse || (!sensors.isCharging && sensors.percent <= 50);
    const wrong: number[] = [];
    const { worked, tabs } = live({
      zone: 'Europe/Berlin',
      from: '2026-11-02T00:00:00Z',
      settings: { aboveBatteryPercent: 50, whileIdle: true },
      happens: ([tab], unixMs, sensors) => {
        const hour = (unixMs % DAY_MS) / HOUR_MS;
        const rested = rests(sensors);
        sensors.isCharging = hour < 12;
        sensors.percent = hour < 12 ? 100 : 100 - 6 * (hour - 12);
        sensors.inUse = hour >= 8 && hour < 10;
        // Browsers tell the page of it.
        if (rested !== rests(sensors)) tab!.keeper.evaluate();
        const last = tab!.worked.at(-1)?.unixMs;
        if (rests(sensors) && last === unixMs) wrong.push(unixMs);
      },
    });
    expect(wrong).toEqual([]);
    // Ten hours plugged in and not in use, and from noon until the battery is at half, at 20:20.
    expect(hoursOf(worked) / 7).toBeCloseTo(10 + 100 / 12, 0);
    expect(tabs[0]!.keeper.rests).toBe(true);
  });
});

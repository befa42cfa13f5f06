import type { PeerHostStats } from '@shoal/peer';
import { beforeEach, describe, expect, it } from 'vitest';
import { LimitsKeeper } from './limits-keeper.ts';
import { NO_SENSORS } from './sensors.ts';
import { writeSettings, UNLIMITED } from './settings.ts';
import { MemoryStorage } from '../memory-storage.ts';
import { zoned } from './testing/limits-rig.ts';

const USUAL_US = 2_000;
const LAPS_A_SECOND = 10;
const ROWS_A_LAP = 8;

let nowMs: number;
let counters: { laps: number; rows: number; computeUs: number };
let keeper: LimitsKeeper;
beforeEach(() => {
  nowMs = Date.parse('2026-11-30T12:00:00Z');
  counters = { laps: 0, rows: 0, computeUs: 0 };
  keeper = open(true);
});

function open(makesWay: boolean): LimitsKeeper {
  const storage = new MemoryStorage();
  writeSettings(storage, { ...UNLIMITED, makesWay });
  const opened = new LimitsKeeper({
    storage,
    isKept: true,
    sensors: NO_SENSORS,
    local: zoned('UTC'),
    unixMs: () => nowMs,
  });
  opened.begin(0, { onAllowance: () => {}, onPromise: () => {} });
  return opened;
}

/** Seconds in which laps take `factor` times as long as usual, until the tab rests; returns how many there were. */
function work(seconds: number, factor: number, { laps = LAPS_A_SECOND, rows = ROWS_A_LAP } = {}): number {
  for (let second = 1; second <= seconds; second++) {
    nowMs += 1_000;
    counters.laps += laps;
    counters.rows += laps * rows;
    counters.computeUs += laps * factor * USUAL_US;
    tick();
    if (keeper.rests) return second;
  }
  return seconds;
}

function tick(): void {
  const fetched = { coordinator: 0, mirror: 0, tab: 0, given: 0 };
  keeper.readStats({ bytesSent: 0, bytesReceived: 0, ...counters, fetched } as PeerHostStats);
}

/** Waits until the rest is over; returns how many seconds that took. */
function rest(): number {
  const fromMs = nowMs;
  while (keeper.rests) {
    nowMs += 1_000;
    tick();
  }
  return (nowMs - fromMs) / 1_000;
}

describe('a tab that makes way for other programs', () => {
  it('rests after eight seconds of laps more than three times as long, and longer each time it is in vain', () => {
    expect(work(30, 1)).toBe(30);
    expect(work(100, 4)).toBe(8);
    expect(keeper.promise.rest).toEqual({ why: 'other-program', forMs: 60_000 });
    const rests = [rest()];
    for (let i = 0; i < 5; i++) {
      expect(work(100, 4)).toBe(8);
      rests.push(rest());
    }
    expect(rests).toEqual([60, 120, 240, 480, 900, 900]);
    // Usual again for more than an hour.
    expect(work(3_700, 1)).toBe(3_700);
    expect(work(100, 4)).toBe(8);
    expect(rest()).toBe(60);
  });

  it('goes on where laps are slow for another reason', () => {
    work(30, 1);
    // A GPU that clocks down, and one shared with a second program that is as busy: at most half as fast.
    expect([work(600, 2), keeper.rests]).toEqual([600, false]);
    work(30, 1);
    // Hiccups that pass.
    for (let i = 0; i < 10; i++) {
      work(7, 10);
      work(1, 1);
    }
    // Laps of more rows, which take longer, and a tab with hardly any work.
    work(100, 30, { rows: 256 });
    work(100, 10, { laps: 4 });
    // A new worker, whose counters begin at 0.
    counters = { laps: 0, rows: 0, computeUs: 0 };
    work(1, 10);
    expect(keeper.rests).toBe(false);
  });

  it('does so only if the donor asked for it', () => {
    keeper = open(false);
    work(30, 1);
    expect([work(100, 10), keeper.rests]).toEqual([100, false]);
  });
});

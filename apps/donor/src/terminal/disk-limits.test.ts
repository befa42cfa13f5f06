import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { PeerHostStats } from '@shoal/peer';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { zoned } from '../limits/testing/limits-rig.ts';
import { initialState } from '../donor-state.ts';
import { DiskLimits } from './disk-limits.ts';
import { type GivenLimits, limitsOf, limitsText, readDays, readHours } from './limit-words.ts';
import { stateLine } from './words.ts';

const local = zoned('Europe/Zurich');
/** A Monday. */
const NOON_MS = Date.parse('2026-11-30T12:00:00+01:00');
let dir: string;
let nowMs: number;
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'shoal-donor-limits-'));
  nowMs = NOON_MS;
});
afterEach(() => rm(dir, { recursive: true }));

/** A donor with the number `tab`, which has moved so many bytes by now. */
function open(tab: number, given: GivenLimits) {
  const limits = new DiskLimits({ dir, settings: limitsOf(given), local, unixMs: () => nowMs });
  limits.keeper.begin(tab, { onAllowance: () => {}, onPromise: () => {} });
  const move = (bytes: number): void => {
    const fetched = { coordinator: 0, mirror: 0, tab: 0, given: 0 };
    const counters = { bytesSent: bytes, bytesReceived: 0, laps: 0, rows: 0, computeUs: 0 };
    limits.keeper.readStats({ ...counters, fetched } as PeerHostStats);
  };
  return { ...limits, keeper: limits.keeper, close: () => limits.close(), move };
}

describe('DiskLimits', () => {
  it('books the traffic of all donors of a user in one budget, over restarts too, until the day is over', async () => {
    const first = open(0, { dayBytes: 1e9 });
    for (const bytes of [100e6, 300e6]) {
      first.move(bytes);
      nowMs += 1_000;
    }
    first.close();
    expect(await readdir(dir)).toEqual(['traffic-0.json']);
    nowMs += 60_000;
    const second = open(1, { dayBytes: 1e9 });
    expect(second.keeper.allowance.trafficBytes).toBe(690e6);
    second.move(690e6);
    expect(second.keeper.promise.rest).toMatchObject({ why: 'traffic-day' });
    const again = open(0, { dayBytes: 1e9 });
    second.close();
    again.keeper.evaluate();
    expect(again.keeper.rests).toBe(true);
    nowMs = Date.parse('2026-12-01T00:00:00+01:00');
    again.keeper.evaluate();
    expect(again.keeper.rests).toBe(false);
  });

  it('lends at the hours of the machine’s clock only, and says in a line until when it rests', () => {
    const { keeper } = open(0, { hours: readHours('22:00-07:00'), days: readDays('mon-fri') });
    const state = { ...initialState(1), phase: 'resting' as const };
    expect(keeper.promise.rest).toEqual({ why: 'schedule', forMs: 10 * 3_600_000 });
    expect(stateLine(state, keeper.state.value)).toMatch(
      /^Resting until (tomorrow at )?\d\d:\d\d\. You lend at other hours\.$/,
    );
    nowMs += 10 * 3_600_000;
    keeper.evaluate();
    expect(keeper.rests).toBe(false);
    // The night of Saturday belongs to no day that was given; Friday's ends on it.
    nowMs = Date.parse('2026-12-05T23:00:00+01:00');
    keeper.evaluate();
    expect(keeper.rests).toBe(true);
  });
});

describe('limits on the command line', () => {
  it('are read as they are written, and told in the terms', () => {
    expect(readHours('9:30-17:00')).toEqual({ fromMinute: 570, toMinute: 1020 });
    expect(['24:00-07:00', '22-7', '22:60-07:00', ''].map(readHours)).toEqual(Array(4).fill(undefined));
    const weekdays = (given: string) => readDays(given)?.map(Number).join('');
    expect(['mon-fri', 'Sat,Sun', 'sat-mon', 'wed'].map(weekdays)).toEqual([
      '1111100',
      '0000011',
      '1000011',
      '0010000',
    ]);
    expect(['', 'monday', 'mon-', 'mon-tue-wed', 'mon,,tue'].map(weekdays)).toEqual(Array(5).fill(undefined));
    expect(limitsText(limitsOf({}))).toBeUndefined();
    const given = { sharePercent: 25, days: readDays('sat,sun'), dayBytes: 2e9, monthBytes: 30e9 };
    expect(limitsText(limitsOf(given))).toBe(
      'works 25 % of the time at most; lends Sat, Sun, by this machine’s clock; at most 2.0 GB of traffic a day; ' +
        'at most 30.0 GB of traffic a month',
    );
    expect(() => limitsOf({ dayBytes: 1e6 })).toThrow('--traffic-per-day has to be at least');
  });
});

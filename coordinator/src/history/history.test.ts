import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { type SharedDatabase, WriteQueue } from '../database/index.ts';
import { memoryDatabase } from '../database/testing/memory-database.ts';
import { deleteOld } from '../records/retention.ts';
import { DatabaseHistory } from './database-history.ts';
import { historyOf, type HistoryStore } from './history.ts';
import { MemoryHistory } from './memory-history.ts';
import { pointsOf } from './points.ts';
import { emptySample, type Sample, sourceStep } from './sample.ts';
import { type Counters, type Levels, Sampler } from './sampler.ts';

const MINUTE_MS = 60_000;
const HOUR_MS = 3_600_000;
const DAY_MS = 86_400_000;
const T0 = Date.UTC(2026, 10, 30, 12);

const sample = (more: Partial<Sample> = {}): Sample => ({ ...emptySample(), spanMs: MINUTE_MS, ...more });
/** First tokens of which `count` took up to 100 ms and `slow` up to 2 s. */
const firstTokens = (count: number, slow = 0): number[] => {
  const counts = emptySample().firstTokens;
  counts[2] = count;
  counts[9] = slow;
  return counts;
};

describe('Sampler', () => {
  it('hands over a minute’s work, mean levels and first tokens, and on closing what is left', () => {
    vi.useFakeTimers({ now: T0, toFake: ['Date', 'performance', 'setInterval', 'clearInterval'] });
    const counters: Counters = { tokens: 7, laps: 0, bytes: 0, work: 0, fallback: 0, errors: 0, refused: 0 };
    let levels: Levels = { streams: 0, queued: 0, tabs: 2, experts: 10, covered: 5 };
    const taken: [number, Sample][] = [];
    const sampler = new Sampler({
      counters: () => ({ ...counters }),
      levels: () => levels,
      take: (...row) => taken.push(row),
    });
    vi.advanceTimersByTime(30_000);
    levels = { ...levels, tabs: 4, covered: 10 };
    counters.tokens += 90;
    sampler.firstToken(80);
    vi.advanceTimersByTime(30_000);
    expect(taken).toHaveLength(1);
    expect(taken[0]![0]).toBe(T0);
    expect(taken[0]![1]).toMatchObject({
      spanMs: MINUTE_MS,
      tokens: 90,
      tabMs: 3 * MINUTE_MS,
      expertMs: 600_000,
      coveredMs: 450_000,
    });
    expect(taken[0]![1].firstTokens).toEqual(firstTokens(1));
    vi.advanceTimersByTime(7_000);
    counters.tokens += 5;
    sampler.close();
    expect(taken[1]).toMatchObject([T0 + MINUTE_MS, { spanMs: 7_000, tokens: 5 }]);
    vi.useRealTimers();
  });
});

describe('pointsOf', () => {
  const frame = { fromMs: T0, toMs: T0 + 3 * MINUTE_MS, stepMs: MINUTE_MS, nowMs: T0 + 2.5 * MINUTE_MS };

  it('adds coordinators beside each other, merges their first tokens, and leaves gaps where nobody measured', () => {
    const rows = [
      {
        atMs: T0,
        member: 'a',
        sample: sample({
          tokens: 600,
          tabMs: 2 * MINUTE_MS,
          work: 100,
          fallback: 10,
          expertMs: 100,
          coveredMs: 90,
          firstTokens: firstTokens(18),
        }),
      },
      {
        atMs: T0,
        member: 'b',
        sample: sample({
          tokens: 300,
          tabMs: MINUTE_MS,
          expertMs: 100,
          coveredMs: 100,
          firstTokens: firstTokens(0, 2),
        }),
      },
      { atMs: T0 + 2 * MINUTE_MS, member: 'a', sample: sample({ spanMs: 15_000, tokens: 150 }) },
    ];
    const [both, gap, partly] = pointsOf(rows, frame);
    expect(both).toMatchObject({
      atMs: T0,
      measuredShare: 1,
      tokensPerSecond: 15,
      tabs: 3,
      fallbackShare: 0.1,
      coverage: 0.95,
    });
    expect(both!.firstTokenMsP50).toBeLessThanOrEqual(100);
    expect(both!.firstTokenMsP95).toBeGreaterThan(1_500);
    expect(gap).toBeNull();
    expect(partly).toMatchObject({
      measuredShare: 0.5,
      tokensPerSecond: 10,
      firstTokenMsP95: null,
      fallbackShare: null,
    });
  });

  it('takes rows that cover a step in turns as one, as of a coordinator that was restarted', () => {
    const turns = [0, 1, 2].map((i) => ({
      atMs: T0 + i * MINUTE_MS,
      member: 'a',
      sample: sample({ tokens: 60, tabMs: MINUTE_MS }),
    }));
    const [one] = pointsOf(turns, { ...frame, stepMs: 3 * MINUTE_MS, nowMs: T0 + HOUR_MS });
    expect(one).toMatchObject({ tokensPerSecond: 1, tabs: 1, measuredShare: 1 });
  });
});

it('sourceStep is the coarsest that divides a step', () => {
  expect([60, 600, 3_600, 14_400, 86_400].map(sourceStep)).toEqual([60, 60, 3_600, 3_600, 86_400]);
});

describe('histories', () => {
  let database: SharedDatabase;
  beforeAll(async () => {
    database = await memoryDatabase();
  });
  afterAll(() => database.close());

  const inDatabase = (member: string, cluster = 'c') => {
    const queue = new WriteQueue(database);
    const store = new DatabaseHistory({ database, queue, cluster, member });
    return { store, queue };
  };

  it('are the same in memory and in the database: minutes, hours, and totals', async () => {
    const { store, queue } = inDatabase('a', 'same');
    const memory = new MemoryHistory('a');
    for (const one of [store, memory] satisfies HistoryStore[])
      for (let minute = 0; minute < 180; minute++) {
        if (minute >= 60 && minute < 120) continue;
        one.add(T0 + minute * MINUTE_MS, sample({ tokens: minute, bytes: 2 ** 33, firstTokens: firstTokens(2, 1) }));
      }
    await queue.close();
    for (const range of ['1h', '24h', '7d', '30d'] as const) {
      const nowMs = T0 + 180 * MINUTE_MS;
      const [kept, own] = await Promise.all([store, memory].map((one) => historyOf(one, { range }, nowMs)));
      expect({ ...kept, kept: '' }).toEqual({ ...own, kept: '' });
    }
    const week = await historyOf(store, { range: '7d' }, T0 + 3 * HOUR_MS - 1);
    expect(week.points.slice(-3).map((point) => point?.tokensPerSecond.toFixed(3))).toEqual([
      '0.492',
      undefined,
      '2.492',
    ]);
    expect(week.totals).toMatchObject({ tokens: 10_740, bytes: 120 * 2 ** 33 });
  });

  it('of several coordinators are summed, told apart, and go on after a restart', async () => {
    for (const [member, tokens] of [
      ['a', 60],
      ['b', 120],
      ['a', 60],
    ] as const) {
      const { store, queue } = inDatabase(member);
      store.add(T0, sample({ tokens, spanMs: MINUTE_MS / 2 }));
      await queue.close();
    }
    const { store, queue } = inDatabase('c');
    const all = await historyOf(store, { range: '1h' }, T0 + MINUTE_MS - 1);
    expect(all).toMatchObject({
      kept: 'database',
      members: ['a', 'b'],
      totals: { tokens: 240, sinceMs: Date.UTC(2026, 10, 30) },
    });
    expect(all.points.at(-1)).toMatchObject({ tokensPerSecond: 4 });
    const one = await historyOf(store, { range: '1h', member: 'b' }, T0 + MINUTE_MS - 1);
    expect(one.points.at(-1)).toMatchObject({ tokensPerSecond: 4, measuredShare: expect.closeTo(0.5) as number });
    expect(one.points.slice(0, -1).every((point) => point === null)).toBe(true);
    await queue.close();
  });

  it('are bounded: minutes go after days, hours after weeks, days stay for years', async () => {
    const { store, queue } = inDatabase('old', 'old');
    const nowMs = Date.now();
    for (const daysAgo of [1, 3, 40, 1_100]) store.add(nowMs - daysAgo * DAY_MS, sample());
    await queue.close();
    await deleteOld(database);
    const rows = await database.db.selectFrom('history').select(['step_s']).where('cluster', '=', 'old').execute();
    const left = [60, 3_600, 86_400].map((step) => rows.filter(({ step_s }) => step_s === step).length);
    expect(left).toEqual([1, 2, 3]);
    const memory = new MemoryHistory('m');
    for (let minute = 0; minute < 3_000; minute++) memory.add(T0 + minute * MINUTE_MS, sample());
    expect(await memory.read(60, 0, Number.MAX_SAFE_INTEGER)).toHaveLength(2_880);
  });
});

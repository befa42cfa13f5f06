import { describe, expect, it } from 'vitest';
import type { Facts } from '../facts.ts';
import { calmFacts, factsWith } from '../testing/calm-facts.ts';
import { RULES } from './index.ts';

const MINUTE_MS = 60_000;
const DAY_MS = 86_400_000;
const { nowMs } = calmFacts();

const check = (name: string, facts: Facts, isRaised = false) =>
  RULES.find((rule) => rule.name === name)!.check(facts, isRaised);
const found = (facts: Facts): string[] => RULES.filter((rule) => rule.check(facts, false)).map(({ name }) => name);

describe('RULES', () => {
  it('find nothing where all is well', () => {
    expect(found(calmFacts())).toEqual([]);
  });

  it('say of each matter what it is, what to do, and where to look', () => {
    const bad = factsWith({
      tabs: {
        troubled: [{ peerId: 'tab-1', note: 'lost its GPU' }],
        left: [{ atMs: nowMs }, { atMs: nowMs }],
        wrong: [{ atMs: nowMs, peerId: 'tab-2', what: 'wrong results' }],
      },
      coverage: {
        uncovered: 4,
        short: 160,
        heaviestDonor: { tab: 'tab-1', alone: 120 },
        heaviestAddress: { address: '192.0.2.1', alone: 130 },
      },
      recent: { firstTokens: { count: 40, p95Ms: 1_900 }, work: { all: 100_000, fallback: 9_000 }, refused: 2 },
      speed: { lap: { ms: 30, assignments: 8 }, ownMsPerAssignment: 0.2 },
      machine: {
        damagedFiles: 1,
        database: { awayForMs: 31_000, waitingRows: 5, lostRows: 0 },
        disks: [{ what: 'the database', dir: '/data', freeBytes: 2 ** 20 }],
        certificate: { host: 'shoal.example', leftMs: DAY_MS, lifeMs: 90 * DAY_MS },
        clock: { databaseMs: 5_000, tabsMs: null },
        membersGone: [{ name: 'b:8787', atMs: nowMs }],
      },
    });
    const names = [...found(bad), 'no-tabs'];
    expect(names.toSorted()).toEqual(RULES.map(({ name }) => name).toSorted());
    for (const rule of RULES) {
      const { text, remedy, href } = rule.check(
        rule.name === 'no-tabs' ? factsWith({ tabs: { serving: 0 } }) : bad,
        false,
      )!;
      expect(text).toMatch(/^\S.*[^.]$/);
      expect(remedy).toMatch(/^\S.*[.]$/);
      expect(['#peers', '#map', '#flow', '#requests', '#events', '#coordinators']).toContain(href);
    }
  });
});

describe('no-tabs', () => {
  it('says that the last tab left while that is news, and not that none has joined', () => {
    const after = (ms: number) => check('no-tabs', factsWith({ tabs: { serving: 0, left: [{ atMs: nowMs - ms }] } }));
    expect(after(30_000)).toMatchObject({ severity: 'warning', text: 'The last tab left less than a minute ago' });
    expect(after(3 * MINUTE_MS)!.text).toBe('The last tab left 3 minutes ago');
    expect(after(11 * MINUTE_MS)).toMatchObject({ severity: 'notice', text: 'All tabs have left' });
    expect(check('no-tabs', factsWith({ tabs: { serving: 0 } }))!.text).toBe('No tab has joined');
  });

  it('leaves resting tabs alone, and names those that join or are paused', () => {
    const text = (tabs: Partial<Facts['tabs']>) => check('no-tabs', factsWith({ tabs: { serving: 0, ...tabs } }))?.text;
    expect(text({ resting: 2 })).toBeUndefined();
    expect(text({ joining: 1 })).toBe('1 tab is joining');
    expect(text({ paused: 2 })).toBe('2 tabs are paused by their donors');
    expect(check('no-tabs', factsWith({ tabs: { serving: 0 }, coverage: { experts: 0 } }))).toBeUndefined();
  });
});

describe('under-replicated', () => {
  it('is a warning where all experts have one copy of two, with what would mend it', () => {
    const one = factsWith({ coverage: { short: 160, donors: 1 } });
    expect(check('under-replicated', one)).toMatchObject({
      severity: 'warning',
      text: expect.stringContaining('All 160 experts are on one donor’s tabs only, where 2 are asked for'),
      remedy: expect.stringContaining('ask 1 more to join, or set replicas to 1'),
    });
    const many = factsWith({ coverage: { short: 10 } });
    expect(check('under-replicated', many)).toMatchObject({
      severity: 'notice',
      remedy: expect.stringContaining('More memory'),
    });
    expect(check('under-replicated', factsWith({ coverage: { short: 160, replicas: 1 } }))).toBeUndefined();
  });
});

describe('tabs-slower-than-the-coordinator', () => {
  // As seen: alone 168 tokens/s, with one tab on a software GPU 30.
  const slow = { lap: { ms: 6, assignments: 8 }, ownMsPerAssignment: 0.08, engineMs: 2.8, lapsPerPass: 5 };

  it('compares a pass over tabs with one that the coordinator would compute alone', () => {
    expect(check('tabs-slower-than-the-coordinator', factsWith({ speed: slow }))).toMatchObject({
      severity: 'warning',
      text: expect.stringContaining('a lap takes 6 ms on them, where this coordinator needs about 0.64 ms'),
      remedy: expect.stringContaining('--local-experts 100MiB'),
    });
  });

  it('says nothing without a measurement, without room for all experts, or where tabs are about as fast', () => {
    for (const speed of [
      { ...slow, ownMsPerAssignment: null },
      { ...slow, lap: null },
      { ...slow, hasRoomForAll: false },
      { ...slow, ownMsPerAssignment: 0.6 },
    ])
      expect(check('tabs-slower-than-the-coordinator', factsWith({ speed }))).toBeUndefined();
    const less = factsWith({ speed: { ...slow, lap: { ms: 1.2, assignments: 8 } } });
    expect(check('tabs-slower-than-the-coordinator', less)).toBeUndefined();
    expect(check('tabs-slower-than-the-coordinator', less, true)).toBeDefined();
  });
});

describe('first-tokens-slow', () => {
  it('needs enough of them, and goes only well below its threshold', () => {
    const after = (p95Ms: number, isRaised = false, count = 40) =>
      check('first-tokens-slow', factsWith({ recent: { firstTokens: { count, p95Ms } } }), isRaised)?.severity;
    expect([after(1_400), after(1_400, true), after(900, true)]).toEqual([undefined, 'warning', undefined]);
    expect([after(1_900), after(12_000), after(1_900, false, 5)]).toEqual(['warning', 'urgent', undefined]);
  });
});

describe('certificate', () => {
  it('warns in time for its whole life, and of one that is not valid', () => {
    const of = (leftDays: number, lifeDays: number) =>
      check(
        'certificate',
        factsWith({ machine: { certificate: { host: 'h', leftMs: leftDays * DAY_MS, lifeMs: lifeDays * DAY_MS } } }),
      );
    expect([of(15, 90), of(13, 90)!.severity, of(2.5, 90)!.severity]).toEqual([undefined, 'warning', 'urgent']);
    expect([of(2, 6), of(1, 6)!.severity, of(0.2, 6)!.severity]).toEqual([undefined, 'warning', 'urgent']);
    expect(of(-1, 90)!.text).toBe('The certificate of h has ended');
    const fault = factsWith({ machine: { certificate: { host: 'h', fault: 'self-signed certificate' } } });
    expect(check('certificate', fault)).toMatchObject({
      severity: 'urgent',
      text: expect.stringContaining('self-signed'),
    });
  });
});

describe('clock', () => {
  it('compares with the database’s from seconds on, with tabs’ from a minute on', () => {
    const text = (databaseMs: number | null, tabsMs: number | null) =>
      check('clock', factsWith({ machine: { clock: { databaseMs, tabsMs } } }))?.text;
    expect(text(1_900, 59_000)).toBeUndefined();
    expect(text(-2_500, null)).toBe('This machine’s clock is 2.5 s behind the database’s');
    expect(text(null, 61_000)).toBe('This machine’s clock is 61.0 s ahead of those of most tabs');
  });
});

it('what happened once ages out', () => {
  const at = (atMs: number) =>
    factsWith({
      tabs: { left: [{ atMs }, { atMs }], wrong: [{ atMs, peerId: 't', what: 'wrong results' }] },
      machine: { membersGone: [{ name: 'b', atMs }] },
    });
  expect(found(at(nowMs - 9 * MINUTE_MS))).toEqual(['coordinator-gone', 'tabs-left', 'wrong-results']);
  expect(found(at(nowMs - 11 * MINUTE_MS))).toEqual(['coordinator-gone', 'wrong-results']);
  expect(found(at(nowMs - 61 * MINUTE_MS))).toEqual([]);
});

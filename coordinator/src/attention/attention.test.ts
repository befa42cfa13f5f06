import { describe, expect, it } from 'vitest';
import { Attention, united } from './attention.ts';
import type { Found, Rule } from './facts.ts';
import { coverageOf } from './gather.ts';
import { Recent } from './recent.ts';
import { calmFacts, factsWith } from './testing/calm-facts.ts';

const FOUND: Found = { severity: 'warning', text: 'it is so', remedy: 'Mend it.', href: '#map' };
const SECOND_MS = 1_000;

/** One rule whose condition the test switches, looked at once a second. */
function rig(rule: Partial<Rule> = {}) {
  let holds = false;
  let nowMs = calmFacts().nowMs;
  const one: Rule = {
    name: 'one',
    about: 'swarm',
    raiseAfterMs: 10 * SECOND_MS,
    clearAfterMs: 5 * SECOND_MS,
    check: () => (holds ? FOUND : undefined),
    ...rule,
  };
  const attention = new Attention({ member: 'a:8787', rules: [one], epochNow: () => nowMs });
  const look = () => attention.look({ ...calmFacts(), nowMs });
  const pass = (seconds: number, held: boolean): number[] => {
    holds = held;
    return Array.from({ length: seconds }, () => {
      nowMs += SECOND_MS;
      return look().length;
    });
  };
  return { pass, look, now: () => nowMs };
}

describe('Attention', () => {
  it('shows what has held for long enough, and for a while after it has ended', () => {
    const { pass } = rig();
    expect(pass(11, true)).toEqual([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
    expect(pass(6, false)).toEqual([1, 1, 1, 1, 0, 0]);
  });

  it('shows nothing that comes and goes, and keeps what is shown while it does', () => {
    const { pass } = rig();
    for (let i = 0; i < 10; i++) expect([...pass(8, true), ...pass(1, false)].includes(1)).toBe(false);
    pass(11, true);
    for (let i = 0; i < 10; i++) expect([...pass(4, false), ...pass(1, true)].includes(0)).toBe(false);
  });

  it('keeps since when it has held, and names its coordinator only where it is its own', () => {
    const swarm = rig();
    swarm.pass(1, true);
    const sinceMs = swarm.now();
    swarm.pass(20, true);
    expect(swarm.look()).toEqual([{ key: 'one', sinceMs, ...FOUND }]);
    const own = rig({ about: 'coordinator', raiseAfterMs: 0 });
    own.pass(1, true);
    expect(own.look()).toMatchObject([{ key: 'one a:8787', coordinator: 'a:8787' }]);
  });

  it('ranks by severity, then by age', () => {
    const attention = new Attention();
    const [first, ...others] = attention.look(
      factsWith({
        tabs: { serving: 0 },
        machine: { damagedFiles: 2, disks: [{ what: 'x', dir: '/', freeBytes: 2 ** 29 }] },
      }),
    );
    expect(first).toMatchObject({ severity: 'urgent', text: expect.stringContaining('2 files') });
    expect(others.map(({ key }) => key)).toEqual(['disk-space', 'no-tabs']);
  });
});

describe('united', () => {
  it('has one item of what several see, the most severe since the first saw it, and each one’s own', () => {
    const item = { key: 'k', text: 't', remedy: 'r', href: '#map' };
    const mine = { ...item, severity: 'notice', sinceMs: 5 } as const;
    const theirs = { ...item, severity: 'urgent', sinceMs: 9 } as const;
    const own = { ...item, key: 'k b', severity: 'warning', sinceMs: 1, coordinator: 'b' } as const;
    expect(united([[mine], [theirs, own]])).toEqual([{ ...theirs, sinceMs: 5 }, own]);
  });
});

describe('Recent', () => {
  it('counts no work of the times without tabs, and none that is older than five minutes', () => {
    const recent = new Recent();
    const look = (seconds: number, work: number, fallback: number, tabsServe: boolean) =>
      recent.facts(seconds * SECOND_MS, { work, fallback, refused: 0 }, tabsServe).work;
    look(0, 0, 0, false);
    expect(look(5, 900, 900, false)).toEqual({ all: 0, fallback: 0 });
    expect(look(10, 1_000, 1_000, true)).toEqual({ all: 0, fallback: 0 });
    expect(look(15, 1_500, 1_020, true)).toEqual({ all: 500, fallback: 20 });
    expect(look(20, 2_000, 1_500, false)).toEqual({ all: 500, fallback: 20 });
    expect(look(400, 3_000, 2_500, false)).toEqual({ all: 0, fallback: 0 });
  });
});

describe('coverageOf', () => {
  const tab = (peerId: string, donorId: string, address: string, live: number[]) => ({
    peerId,
    donorId,
    address,
    live: new Set(live),
  });

  it('counts copies by donors, and who alone holds what', () => {
    const tabs = [
      tab('t1', 'ann', '192.0.2.1', [0, 1, 2]),
      tab('t2', 'ann', '192.0.2.1', [1, 2, 3]),
      tab('t3', 'ben', '192.0.2.1', [3]),
      tab('t4', 'cas', '192.0.2.9', [0]),
    ];
    expect(coverageOf(tabs, 5, 2)).toEqual({
      uncovered: 1,
      // 1 and 2 are twice with ann, 4 with nobody.
      short: 3,
      donors: 3,
      heaviestDonor: { tab: 't1', alone: 2 },
      heaviestAddress: { address: '192.0.2.1', alone: 3 },
    });
  });

  it('names no address of this machine, and nobody without tabs', () => {
    expect(coverageOf([tab('t1', 'ann', '127.0.0.1', [0])], 1, 1).heaviestAddress).toBeNull();
    expect(coverageOf([], 3, 2)).toEqual({
      uncovered: 3,
      short: 3,
      donors: 0,
      heaviestDonor: null,
      heaviestAddress: null,
    });
  });
});

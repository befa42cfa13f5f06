import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { MemoryCluster } from './cluster/testing/memory-cluster.ts';
import { shareTrust } from './share-trust.ts';
import type { KeptEntry } from './trust/quarantine.ts';
import { Trust } from './trust/trust.ts';
import { NormLimits } from './trust/norm-limits.ts';

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

const LIAR = { donorId: 'liar', address: '203.0.113.7' };

/** One that computes nothing. */
function newTrust(): Trust {
  const local = { compute: () => Promise.reject(new Error('not asked for')) };
  const normGain = (): Float32Array => new Float32Array(4);
  return new Trust({ local, recheck: local, norms: new NormLimits(), modelDigest: '', numExpertsPerTok: 1, normGain });
}

function memberOf(cluster: MemoryCluster, kept: () => KeptEntry[] = () => []) {
  const member = cluster.add();
  const trust = newTrust();
  const expelled: string[] = [];
  const swarm = {
    peers: [{ donorId: 'liar' }, { donorId: 'honest' }] as never,
    expelDonor: (donorId: string) => void expelled.push(donorId),
  };
  shareTrust({ cluster: member, trust, swarm, quarantines: async () => kept() });
  return { member, trust, expelled };
}

const settle = () => vi.advanceTimersByTimeAsync(1_500);

test('whoever lies to one coordinator is out at all, also at one that was cut off meanwhile', async () => {
  const cluster = new MemoryCluster(0);
  const first = memberOf(cluster);
  const kept = (): KeptEntry[] => first.trust.quarantine.kept();
  const second = memberOf(cluster, kept);
  const third = memberOf(cluster, kept);
  third.member.cut();
  first.trust.exclude(LIAR);
  await settle();
  const until = first.trust.quarantine.until(LIAR);
  expect(until).toBeDefined();
  expect(second.trust.quarantine.until(LIAR)).toBe(until);
  expect(second.expelled).toEqual(['liar']);
  expect(third.expelled).toEqual([]);
  third.member.mend();
  await settle();
  expect(third.trust.quarantine.until(LIAR)).toBe(until);
  expect([...new Set(third.expelled)]).toEqual(['liar']);

  // The next failure counts for four times as long, wherever it is found, and what is heard never shortens a quarantine.
  second.trust.exclude(LIAR);
  await settle();
  expect(first.trust.quarantine.until(LIAR)! - until!).toBeGreaterThan(2 * 3_600_000);
  first.trust.hearExcluded([], [{ key: 'donor liar', failures: 0.1, at: Date.now(), until: null }]);
  expect(first.trust.quarantine.until(LIAR)).toBe(second.trust.quarantine.until(LIAR));
});

test('rows found right anywhere count everywhere, once, and a failure anywhere ends the run', async () => {
  const cluster = new MemoryCluster(0);
  const members = [memberOf(cluster), memberOf(cluster)];
  const [first, second] = members.map(({ trust }) => trust);
  const visits = [first!, second!].map((trust) => trust.visit('donor', { architecture: 'test' }));
  for (let i = 0; i < 5; i++) visits[0]!.right();
  for (let i = 0; i < 3; i++) visits[1]!.right();
  await settle();
  await settle();
  const both = { consecutiveRight: 8, verifiedRows: 8 };
  expect(visits.map(({ record }) => record)).toEqual([both, both]);
  const third = memberOf(cluster).trust;
  await settle();
  await settle();
  expect(third.visit('donor', { architecture: 'test' }).record).toEqual(both);
  expect(visits.map(({ record }) => record)).toEqual([both, both]);
  third.exclude({ donorId: 'donor', address: '127.0.0.1' });
  await settle();
  expect(visits.map(({ record }) => record.consecutiveRight)).toEqual([0, 0]);
  expect(visits[0]!.record.verifiedRows).toBe(8);
});

import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { Ledger } from './ledger.ts';
import { planPlacement } from './placement.ts';
import type { PlacementModel, PlacementPeer, PlacementPlan } from './types.ts';

/** DeepSeek-V3 at 4.5 bits: 14,848 experts. */
const v3: PlacementModel = {
  layers: Array.from({ length: 58 }, (_, i) => i + 3),
  expertsPerLayer: 256,
  groupsPerLayer: 8,
  shardBytes: 24_772_608,
};
const EXPERTS = 14_848;

/** Many kinds of peers in a fixed pattern; every fifth can bind fewer experts of a layer than a routing group. */
function manyPeers(count: number): PlacementPeer[] {
  return Array.from({ length: count }, (_, i) => ({
    peerId: `p${i}`,
    donorId: `d${i}`,
    pledgeBytes: 2 ** (28 + (i % 5)),
    maxExpertsPerLayer: i % 5 === 4 ? 20 : 1_000,
    assignmentsPerSecond: 500 + 137 * (i % 23),
    rttMs: 12 + 11 * (i % 17),
  }));
}

/** How often a plan asks for a peer's room, score or conflicts: work on any machine. */
let questions = 0;

const COUNTED = ['score', 'room', 'mayHold', 'widest'] as const;
const originals = COUNTED.map((method) => [method, Ledger.prototype[method]] as const);

beforeEach(() => {
  questions = 0;
  for (const [method, original] of originals) {
    const counting = function (this: Ledger, ...args: never[]): unknown {
      questions++;
      return (original as (...args: never[]) => unknown).apply(this, args);
    };
    Object.defineProperty(Ledger.prototype, method, { value: counting, configurable: true, writable: true });
  }
});

afterEach(() => {
  for (const [method, original] of originals) {
    Object.defineProperty(Ledger.prototype, method, { value: original, configurable: true, writable: true });
  }
});

function copies(plan: PlacementPlan): Uint8Array {
  const counts = new Uint8Array(EXPERTS);
  for (const held of plan.held.values()) for (const expert of held) counts[expert]!++;
  return counts;
}

describe('planning for 10,000 peers and the 14,848 experts of V3', () => {
  it('covers everything twice, with far less work than peers × experts', () => {
    const plan = planPlacement(v3, manyPeers(10_000), { replicas: 2 });
    expect(copies(plan).every((count) => count === 2)).toBe(true);
    // Comparing every peer for every expert would take 148 million.
    expect(questions).toBeLessThan(5_000_000);
  });

  it('takes no more work for as many more peers than in proportion', () => {
    planPlacement(v3, manyPeers(5_000), { replicas: 2 });
    const half = questions;
    questions = 0;
    planPlacement(v3, manyPeers(10_000), { replicas: 2 });
    expect(questions).toBeLessThan(3 * half);
  });

  it('re-plans a join and a leave with a small part of the work, and fetches only what that takes', () => {
    const peers = manyPeers(10_000);
    const before = planPlacement(v3, peers, { replicas: 2 });
    const fresh = questions;
    // A few looks at every peer and replica; none at pairs of them.
    const few = 25 * (peers.length + 2 * EXPERTS);
    const busy = peers.findIndex(({ peerId }) => before.held.get(peerId)!.length > 0);
    questions = 0;
    const left = planPlacement(v3, peers.toSpliced(busy, 1), { replicas: 2, previous: before });
    expect(copies(left).every((count) => count === 2)).toBe(true);
    expect(questions).toBeLessThan(Math.min(few, fresh / 2));
    questions = 0;
    const newcomer = { ...peers[3]!, peerId: 'new', donorId: 'new' };
    const joined = planPlacement(v3, [...peers, newcomer], { replicas: 2, previous: before });
    expect(questions).toBeLessThan(Math.min(few / 2, fresh / 2));
    expect(joined.fetchedBytes).toBeLessThanOrEqual(2 ** 31);
  });
});

import { planPlacement } from '@shoal/placement';
import { describe, expect, it } from 'vitest';
import { hashPlacement } from './baselines.ts';
import { equalTabs, placementModel, SIM_MODELS } from './models.ts';
import { measureStill, type StillResult } from './still.ts';

const TOKENS = 200;

/** 1-GiB tabs (4.5 bits per weight, filled to 85 %), most peers per token and layer, and peers with expert hashing. */
const BOUNDS = [
  { key: 'v2-lite', tabs: 9, atMost: 1.2, hash: 4.6 },
  { key: 'qwen3', tabs: 18, atMost: 1.3, hash: 6.6 },
  { key: 'olmoe', tabs: 4, atMost: 1.05, hash: 3.6 },
  { key: 'v3', tabs: 413, atMost: 4.05, hash: 7.9 },
];

function still(key: string, tabs: number, replicas: number): StillResult {
  const model = SIM_MODELS[key]!;
  const plan = planPlacement(placementModel(model), equalTabs(tabs), { replicas });
  return measureStill(model, plan, { tokens: TOKENS, seed: 1 });
}

describe.each(BOUNDS)('$key on $tabs tabs, gate choices uniformly random', ({ key, tabs, atMost, hash }) => {
  const once = still(key, tabs, 1);

  it(`needs at most ${atMost} peers per token and layer, with every expert covered`, () => {
    expect(once.uncoveredShare).toBe(0);
    expect(once.distinctPeers).toBeLessThanOrEqual(atMost);
  });

  it('sends at most 5 % more bytes than those peers imply', () => {
    expect(once.bytesPerToken).toBeGreaterThan(once.impliedBytesPerToken);
    expect(once.bytesPerToken).toBeLessThanOrEqual(1.05 * once.impliedBytesPerToken);
  });

  it(`is far better than per-expert hashing, which needs about ${hash}`, () => {
    const model = SIM_MODELS[key]!;
    const plan = hashPlacement(placementModel(model), equalTabs(tabs));
    const hashed = measureStill(model, plan, { tokens: TOKENS, seed: 1 });
    expect(hashed.uncoveredShare).toBe(0);
    expect(Math.abs(hashed.distinctPeers - hash)).toBeLessThan(0.15);
  });

  it('needs fewer with two replicas on twice the tabs, down to one', () => {
    const twice = still(key, 2 * tabs, 2);
    if (once.distinctPeers === 1) expect(twice.distinctPeers).toBe(1);
    else expect(twice.distinctPeers).toBeLessThan(once.distinctPeers);
  });
});

describe('V3 with 15 % more tabs', () => {
  it('needs at most 3.65 peers: what its own group limit of 4 leaves', () => {
    expect(still('v3', Math.ceil(413 * 1.15), 1).distinctPeers).toBeLessThanOrEqual(3.65);
  });
});

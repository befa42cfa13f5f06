import { createRng } from '@shoal/model';
import { describe, expect, test } from 'vitest';
import type { SimDonor } from '../donors.ts';
import { SIM_MODELS, type SimModel } from '../models.ts';
import { simulateLaps } from './laps.ts';
import { type Population, simulatePopulation } from './population.ts';

const model: SimModel = { ...SIM_MODELS.qwen3!, numLayers: 4, expertsPerLayer: 16, topK: 4 };

const donor: SimDonor = {
  donorToken: '',
  pledgeBytes: 2 ** 30,
  assignmentsPerSecond: 1e6,
  lapOverheadMs: 1,
  rttMs: 10,
  rttSigma: 0,
  lossShare: 0,
  downloadBytesPerMs: 1e9,
  uploadBytesPerMs: 1e9,
};

/** Four tabs that share the experts of every layer. */
function fourTabs(of: Partial<SimDonor>): Population {
  const tabs = Array.from({ length: 4 }, (_, i) => ({
    donor: { ...donor, ...of, donorToken: `donor-${i}` },
    held: Array.from({ length: model.numLayers * model.expertsPerLayer }, (__, expert) => expert).filter(
      (expert) => expert % 4 === i,
    ),
  }));
  const loaded = { fromCache: 0, heldElsewhere: 0, heldNowhere: 0 };
  return { tabs, loaded, joins: 0, leaves: 0, slowestPlanMs: 0 };
}

const options = { streams: 32, downloadsShare: 0, passes: 4, popularity: 'uniform', seed: 1 } as const;

describe('laps of several coordinators over the same tabs', () => {
  test('add up where coordinators’ lines are full', () => {
    const run = (coordinators: number) =>
      simulateLaps(model, fourTabs({}), { ...options, coordinators, lineGbitPerS: 0.01 });
    const [one, three] = [run(1), run(3)];
    expect(one.busy.coordinatorUp).toBeGreaterThan(0.9);
    // A full line carries about three tabs' rows of 4 KB for each token and layer.
    expect(one.tokensPerSecond).toBeGreaterThan(1.25e6 / (model.numLayers * 4 * 4096 * 1.05));
    expect(three.tokensPerSecond / one.tokensPerSecond).toBeGreaterThan(2.7);
    expect(three.tokensPerSecond / one.tokensPerSecond).toBeLessThan(3.3);
  });

  test('share what the tabs can do where tabs are busy', () => {
    const run = (coordinators: number) =>
      simulateLaps(model, fourTabs({ assignmentsPerSecond: 1000 }), { ...options, coordinators, lineGbitPerS: 1 });
    const [four, eight] = [run(4), run(8)];
    expect(four.busy.tabGpu).toBeGreaterThan(0.9);
    expect(eight.tokensPerSecond / four.tokensPerSecond).toBeLessThan(1.2);
    // 4,000 assignments a second in all.
    expect(eight.tokensPerSecond).toBeLessThan((4000 / (model.numLayers * model.topK)) * 1.05);
  });

  test('are slower where downloads of weights take part of the line', () => {
    const run = (downloadsShare: number) =>
      simulateLaps(model, fourTabs({}), { ...options, coordinators: 1, lineGbitPerS: 0.01, downloadsShare });
    expect(run(0.5).tokensPerSecond / run(0).tokensPerSecond).toBeLessThan(0.65);
  });
});

test('counts what tabs load while donors come and go, by where it is', () => {
  const { loaded, tabs, joins, leaves } = simulatePopulation(model, {
    tabs: 40,
    replicas: 2,
    minutes: 10,
    rng: createRng(1),
  });
  expect(joins).toBeGreaterThan(2);
  expect(leaves).toBeGreaterThan(2);
  const copies = new Map<number, number>();
  for (const { held } of tabs) for (const expert of held) copies.set(expert, (copies.get(expert) ?? 0) + 1);
  expect(copies.size).toBe(model.numLayers * model.expertsPerLayer);
  expect(Math.min(...copies.values())).toBe(2);
  expect(loaded.heldElsewhere + loaded.fromCache).toBeGreaterThan(0);
});

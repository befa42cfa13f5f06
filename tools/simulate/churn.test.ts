import { createRng } from '@shoal/model';
import { beforeAll, describe, expect, it } from 'vitest';
import { type ChurnOptions, type ChurnResult, simulateChurn } from './churn.ts';
import { availability, DISTRIBUTIONS, drawRestOfVisitMs, drawVisitMs } from './donors.ts';
import { GateChoices } from './gate-choices.ts';
import { SIM_MODELS } from './models.ts';
import { roundTrips } from './wire-bytes.ts';

const options: ChurnOptions = {
  donors: 60,
  replicas: 2,
  planner: 'shoal',
  popularity: 'uniform',
  streams: 4,
  minutes: 5,
  uplinkGbitPerS: 10,
  seed: 3,
};
const model = SIM_MODELS['v2-lite']!;

describe('simulateChurn', () => {
  let shoal: ChurnResult;
  beforeAll(async () => {
    shoal = await simulateChurn(model, options);
  });

  it('gives the same figures for the same seed, and others for another', async () => {
    const { planMs: _, ...figures } = shoal;
    const { planMs: _again, ...again } = await simulateChurn(model, options);
    expect(again).toEqual(figures);
    expect((await simulateChurn(model, { ...options, seed: 4 })).fetchedBytes).not.toBe(shoal.fetchedBytes);
  });

  it('asks fewer peers and sends fewer bytes than per-expert hashing does under the same churn, and fetches no more for want of replicas', async () => {
    const hash = await simulateChurn(model, { ...options, planner: 'hash' });
    expect(shoal.joins).toBeGreaterThan(0);
    expect(shoal.leaves).toBeGreaterThan(0);
    expect(shoal.distinctPeers).toBeLessThan(hash.distinctPeers / 2);
    expect(shoal.bytesPerToken).toBeLessThan(hash.bytesPerToken / 2);
    expect(shoal.fetchedBytes - shoal.movedBytes).toBeLessThanOrEqual(hash.fetchedBytes);
  });

  it('stays within 5 % of the bytes that its peers imply, hedges and laps sent to tabs that had gone included', () => {
    expect(shoal.bytesPerToken).toBeGreaterThan(shoal.impliedBytesPerToken);
    expect(shoal.bytesPerToken).toBeLessThan(1.05 * shoal.impliedBytesPerToken);
  });

  it('hedges laps that are late, within the budget', () => {
    expect(shoal.hedges).toBeGreaterThan(0);
    expect(shoal.hedges).toBeLessThanOrEqual(0.05 * shoal.asks + 4);
  });

  it('has all work done by the coordinator where there is nobody', async () => {
    const alone = await simulateChurn(model, { ...options, donors: 1, minutes: 1 });
    expect(alone.uncoveredShare).toBeGreaterThan(0.5);
    expect(alone.laps).toBeGreaterThan(0);
  });
});

describe('what the simulation draws', () => {
  it('has visits and absences of the stated means, and is stationary from the start', () => {
    const rng = createRng(1);
    const mean = (draw: () => number): number =>
      Array.from({ length: 200_000 }, draw).reduce((a, b) => a + b, 0) / 200_000;
    const visitMs = DISTRIBUTIONS.visitMinutes.mean * 60_000;
    expect(mean(() => drawVisitMs(rng)) / visitMs).toBeCloseTo(1, 1);
    // The mean rest of a visit is E[X²] / 2 E[X], and E[X²] = 4! scale² for this Weibull.
    expect(mean(() => drawRestOfVisitMs(rng)) / visitMs).toBeCloseTo(24 / 4 / 2, 1);
    expect(availability()).toBeCloseTo(0.4);
  });

  it('chooses experts evenly, or by their rank, within the groups that the gate allows', () => {
    const v3 = SIM_MODELS.v3!;
    const choices = new GateChoices(v3, 'uniform', createRng(1));
    const counts = new Float64Array(256);
    for (let i = 0; i < 20_000; i++) {
      const chosen = choices.draw(0);
      expect(new Set(chosen).size).toBe(8);
      expect(new Set(chosen.map((expert) => expert >> 5)).size).toBeLessThanOrEqual(4);
      for (const expert of chosen) counts[expert]!++;
    }
    expect(Math.max(...counts) / Math.min(...counts)).toBeLessThan(1.5);
    const skewed = new GateChoices(model, 'zipf', createRng(1));
    const byRank = new Float64Array(64);
    for (let i = 0; i < 20_000; i++) for (const expert of skewed.draw(0)) byRank[expert]!++;
    byRank.sort();
    expect(byRank[63]! / byRank[0]!).toBeGreaterThan(4);
  });

  it('counts round trips as they were measured', () => {
    expect([4_000, 4_500, 14_000, 64_000].map(roundTrips)).toEqual([1, 1, 3, 4]);
  });
});

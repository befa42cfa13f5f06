import { createRng } from '@shoal/model';
import { expect, test } from 'vitest';
import { LapCost } from './lap-cost.ts';

/** Laps of these sizes: 20 ms plus `perAssignmentMs` per assignment, ± `noiseMs`. */
function laps(sizes: readonly number[], perAssignmentMs: number, { noiseMs = 0, computeMs = 1 } = {}): LapCost {
  const cost = new LapCost();
  const rng = createRng(1);
  for (let i = 0; i < 200; i++) {
    const assignments = sizes[i % sizes.length]!;
    cost.add(assignments, 20 + perAssignmentMs * assignments + noiseMs * (2 * rng() - 1), computeMs);
  }
  return cost;
}

test('LapCost.line is 0 before the first lap', () => {
  expect(new LapCost().line()).toEqual({ fixedMs: 0, perAssignmentMs: 0 });
});

test('LapCost.line separates the round trip from the time of each assignment, when laps differ in size', () => {
  const { fixedMs, perAssignmentMs } = laps([4, 8, 64, 256], 0.1, { noiseMs: 2 }).line();
  expect(perAssignmentMs).toBeCloseTo(0.1, 1);
  expect(fixedMs).toBeGreaterThan(18);
  expect(fixedMs).toBeLessThan(22);
});

test('LapCost.line uses the peer’s compute time as long as all laps have the same size', () => {
  const alike = laps([32], 0.5, { computeMs: 8 }).line();
  expect(alike.perAssignmentMs).toBeCloseTo(0.25);
  expect(alike.fixedMs).toBeCloseTo(28);
  // Even where it claims more than its laps took.
  const boasted = laps([32], 0, { computeMs: 1e6 }).line();
  expect(boasted.perAssignmentMs).toBeCloseTo(20 / 32);
  expect(boasted.fixedMs).toBeCloseTo(0);
});

test('LapCost.line is never negative, even for laps whose time does not depend on their size', () => {
  const cost = new LapCost();
  for (let i = 0; i < 100; i++) cost.add(i % 2 ? 4 : 64, i % 2 ? 80 : 10, 0);
  const { fixedMs, perAssignmentMs } = cost.line();
  expect(perAssignmentMs).toBe(0);
  expect(fixedMs).toBeCloseTo(45, 0);
});

test('LapCost.line forgets old laps', () => {
  const cost = laps([4, 64], 1);
  for (let i = 0; i < 300; i++) cost.add(i % 2 ? 4 : 64, 5, 0);
  const { fixedMs, perAssignmentMs } = cost.line();
  expect(perAssignmentMs).toBeLessThan(0.02);
  expect(fixedMs).toBeLessThan(5.5);
});

test('LapCost.line is the weighted least squares line, drawn towards the peer’s compute time by a ridge', () => {
  const rng = createRng(3);
  const cost = new LapCost();
  const samples: [size: number, ms: number][] = [];
  for (let i = 0; i < 60; i++) {
    const size = 1000 + Math.floor(rng() * 8);
    samples.push([size, 500 + 0.4 * size + rng()]);
    cost.add(...samples.at(-1)!, 100);
  }
  // From weighted sums over all samples.
  const weights = samples.map((_, i) => 2 ** (-(samples.length - 1 - i) / 45));
  const mean = (of: (size: number, ms: number) => number): number =>
    samples.reduce((sum, sample, i) => sum + weights[i]! * of(...sample), 0) / weights.reduce((a, b) => a + b, 0);
  const [meanSize, meanMs] = [mean((size) => size), mean((_, ms) => ms)];
  const variance = mean((size) => (size - meanSize) ** 2);
  const covariance = mean((size, ms) => (size - meanSize) * (ms - meanMs));
  const ridge = (0.3 * meanSize) ** 2;
  const slope = (covariance + ridge * (100 / meanSize)) / (variance + ridge);
  const { fixedMs, perAssignmentMs } = cost.line();
  expect(perAssignmentMs).toBeCloseTo(slope, 9);
  expect(fixedMs + perAssignmentMs * meanSize).toBeCloseTo(meanMs, 9);
});

test('LapCost.line has no negative fixed part, however steep the times are', () => {
  const cost = new LapCost();
  for (let i = 0; i < 200; i++) cost.add(40 + (i % 3) * 60, 10 * (40 + (i % 3) * 60) - 300, 0);
  expect(cost.line().fixedMs).toBeGreaterThanOrEqual(0);
});

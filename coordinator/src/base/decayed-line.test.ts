import { createRng } from '@shoal/model';
import { expect, it } from 'vitest';
import { DecayedLine } from './decayed-line.ts';

const DECAY = 0.9;

/** The same by sums over all samples, each with its weight. */
function bySums(samples: readonly (readonly [number, number])[]) {
  const weights = samples.map((_, i) => DECAY ** (samples.length - 1 - i));
  const mean = (of: (sample: readonly [number, number]) => number): number =>
    samples.reduce((sum, sample, i) => sum + weights[i]! * of(sample), 0) / weights.reduce((a, b) => a + b, 0);
  const [meanX, meanY] = [mean(([x]) => x), mean(([, y]) => y)];
  const variance = mean(([x]) => (x - meanX) ** 2);
  const covariance = mean(([x, y]) => (x - meanX) * (y - meanY));
  return { meanX, meanY, variance, covariance };
}

it('DecayedLine is the weighted least squares line, drawn towards an assumed slope by a ridge', () => {
  const rng = createRng(3);
  const line = new DecayedLine(DECAY);
  const samples: [number, number][] = [];
  for (let i = 0; i < 60; i++) {
    const x = 1000 + Math.floor(rng() * 8);
    samples.push([x, 500 + 0.4 * x + rng()]);
    line.add(...samples.at(-1)!);
  }
  const { meanX, meanY, variance, covariance } = bySums(samples);
  expect(line.meanX).toBeCloseTo(meanX, 9);
  expect(line.varianceX).toBeCloseTo(variance, 9);
  expect(line.fit().slope).toBeCloseTo(covariance / variance, 9);
  expect(line.fit().base + line.fit().slope * meanX).toBeCloseTo(meanY, 9);
  expect(line.fit(0.1, 2).slope).toBeCloseTo((covariance + 2 * 0.1) / (variance + 2), 9);
  line.clear();
  expect([line.weight, line.varianceX]).toEqual([0, 0]);
});

it('DecayedLine has neither a falling slope nor a negative base', () => {
  const falling = new DecayedLine(DECAY);
  for (const x of [1, 2, 3]) falling.add(x, 10 - x);
  expect(falling.fit().slope).toBe(0);
  const steep = new DecayedLine(DECAY);
  for (const x of [4, 5, 6]) steep.add(x, 10 * x - 30);
  expect(steep.fit().base).toBeCloseTo(0, 9);
});

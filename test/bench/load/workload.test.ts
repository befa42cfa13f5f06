import { createRng } from '@shoal/model';
import { describe, expect, it } from 'vitest';
import { quantileOf, quantilesOf, trendOf } from '../statistics.ts';
import {
  ceilingTokensPerS,
  drawLength,
  floorGapMs,
  floorTtftMs,
  planRequests,
  poissonArrivalsMs,
  type Workload,
  within,
} from './workload.ts';

const LENGTHS = { median: 40, sigma: 0.5, min: 1, max: 400 };
const WORKLOAD: Workload = {
  arrivals: { ratePerS: 4 },
  durationS: 30,
  promptTokens: LENGTHS,
  answerTokens: { ...LENGTHS, max: 64 },
};

describe('arrivals', () => {
  it('are a Poisson process: their number and its variance are the rate, gaps forget', () => {
    const rng = createRng(1);
    const counts: number[] = [];
    const gaps: number[] = [];
    for (let run = 0; run < 400; run++) {
      const arrivals = poissonArrivalsMs(rng, 5, 10);
      counts.push(arrivals.length);
      for (let i = 1; i < arrivals.length; i++) gaps.push(arrivals[i]! - arrivals[i - 1]!);
    }
    const mean = counts.reduce((a, b) => a + b) / counts.length;
    const variance = counts.reduce((sum, n) => sum + (n - mean) ** 2, 0) / (counts.length - 1);
    // Five standard errors each: √50 / 20, and 50 √(2 / 400).
    expect(Math.abs(mean - 50)).toBeLessThan(1.8);
    expect(Math.abs(variance - 50)).toBeLessThan(18);
    // In an exponential, e⁻¹ exceeds the mean of 200 ms (slightly less here, as arrivals beyond the end are not seen).
    expect(gaps.filter((gap) => gap > 200).length / gaps.length).toBeCloseTo(Math.exp(-1), 1);
    expect(Math.min(...gaps)).toBeGreaterThanOrEqual(0);
  });

  it('come once each in an open loop, and one after the other for each stream in a closed one', () => {
    const open = planRequests(createRng(2), WORKLOAD);
    expect(open.every((chain) => chain.length === 1 && chain[0]!.atMs < 30_000)).toBe(true);
    const closed = planRequests(createRng(2), { ...WORKLOAD, arrivals: { streams: 3 }, durationS: 1 });
    expect(closed.map((chain) => chain.length)).toEqual([50, 50, 50]);
    expect(planRequests(createRng(2), WORKLOAD)).toEqual(open);
    expect(planRequests(createRng(3), WORKLOAD)).not.toEqual(open);
  });
});

describe('lengths', () => {
  it('are log-normal within their bounds', () => {
    const rng = createRng(4);
    const drawn = Array.from({ length: 4000 }, () => drawLength(rng, LENGTHS));
    expect(Math.abs(quantileOf(drawn, 0.5) - 40)).toBeLessThanOrEqual(2);
    // One σ above the median is the 84th percentile.
    expect(Math.abs(quantileOf(drawn, 0.8413) - 40 * Math.exp(0.5))).toBeLessThan(5);
    const narrow = Array.from({ length: 500 }, () => drawLength(rng, { ...LENGTHS, min: 30, max: 50 }));
    expect([Math.min(...narrow), Math.max(...narrow)]).toEqual([30, 50]);
    expect(drawLength(rng, { ...LENGTHS, sigma: 0 })).toBe(40);
  });
});

describe('floors', () => {
  const inputs = { lapsPerPass: 5, roundTripMs: 20, ownMs: 10, prefillRows: 64, tokensPerPass: 2 };

  it('are the laps’ round trips and the coordinator’s own time, once for each chunk of a prompt', () => {
    expect(floorGapMs(inputs)).toBe(110);
    expect([1, 64, 65, 200].map((tokens) => floorTtftMs(inputs, tokens))).toEqual([110, 110, 220, 440]);
  });

  it('leave a closed loop a pass’s tokens of each stream in that time, and an open one what it was asked for', () => {
    expect(ceilingTokensPerS({ ...WORKLOAD, arrivals: { streams: 11 } }, inputs, 0)).toBeCloseTo(200);
    expect(ceilingTokensPerS(WORKLOAD, inputs, 3000)).toBe(100);
  });
});

describe('what falls within a run', () => {
  it('counts pieces of text that came by then, and answers for as long as they were under way', () => {
    const answer = { ttftMs: 100, gapsMs: [100, 100, 100], totalMs: 500, tokens: 8 };
    // Three of the first answer's four pieces, one of the second's, and none of the third's.
    const answers = [0, 200, 350].map((sentMs) => ({ ...answer, sentMs }));
    const { tokens, underWay } = within(answers, 301);
    expect(tokens).toBe(2 * (3 + 1));
    expect(underWay).toBeCloseTo((301 + 101) / 301);
    expect(within(answers, 10_000).tokens).toBe(24);
    expect(within([{ sentMs: 0, gapsMs: [], totalMs: 50, tokens: 0 }], 100)).toEqual({ tokens: 0, underWay: 0.5 });
  });
});

describe('statistics', () => {
  it('quantiles are of nearest rank', () => {
    const samples = Array.from({ length: 100 }, (_, i) => 100 - i);
    expect(quantilesOf(samples)).toEqual({ p50: 50, p95: 95, p99: 99, count: 100 });
    expect(quantilesOf([7])).toEqual({ p50: 7, p95: 7, p99: 7, count: 1 });
    expect(quantilesOf([])).toEqual({ p50: 0, p95: 0, p99: 0, count: 0 });
  });

  it('a trend is the least squares line with the standard error of its slope', () => {
    expect(trendOf([1, 2, 3, 4].map((x) => [x, 5 + 3 * x] as const))).toEqual({ slope: 3, slopeError: 0 });
    // Residuals −½, 1, −½ about slope 1: √(1.5 / 1 / 2).
    const { slope, slopeError } = trendOf([
      [0, 0],
      [1, 2.5],
      [2, 2],
    ]);
    expect(slope).toBeCloseTo(1);
    expect(slopeError).toBeCloseTo(Math.sqrt(1.5 / 2));
    expect(trendOf([[1, 1]]).slopeError).toBe(Number.POSITIVE_INFINITY);
  });
});

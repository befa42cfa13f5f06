import { describe, expect, it } from 'vitest';
import { bestRate, chooseDepths } from './depth.ts';

const depthsOf = (...asked: Parameters<typeof chooseDepths>): number[] => chooseDepths(...asked).depths;

describe('chooseDepths', () => {
  const stream = (rates: readonly number[], maxDrafts = rates.length) => ({
    maxDrafts,
    isDrafted: false,
    reach: (depth: number) => rates.slice(0, depth).reduce((a, b) => a * b, 1),
  });

  it('grows with acceptance and with the time of a pass, and stays within what is of use', () => {
    const cost = { msPerRow: 1, callMs: () => 1, msPerDraft: () => 0 };
    expect(depthsOf([stream([0.9, 0.5, 0.5, 0.5])], { ...cost, passMs: 2 })).toEqual([0]);
    expect(depthsOf([stream([0.9, 0.5, 0.5, 0.5])], { ...cost, passMs: 6 })).toEqual([1]);
    expect(depthsOf([stream([0.9, 0.5, 0.5, 0.5])], { ...cost, passMs: 200 })).toEqual([4]);
    expect(depthsOf([stream([0.9, 0.9, 0.9], 1)], { ...cost, passMs: 200 })).toEqual([1]);
    expect(depthsOf([stream([0.9, 0.9, 0.9])], { ...cost, passMs: 200, room: 2 })).toEqual([2]);
    expect(depthsOf([], { ...cost, passMs: 200 })).toEqual([]);
  });

  it('gives rows to those streams whose drafts are right', () => {
    const streams = [stream([0.95, 0.9]), stream([0.1, 0.1]), stream([0.6, 0.5])];
    expect(depthsOf(streams, { passMs: 6, msPerRow: 1.2, callMs: () => 0, msPerDraft: () => 0 })).toEqual([2, 0, 0]);
  });

  it('takes drafts that exist where making some does not pay', () => {
    const found = { ...stream([0.9, 0.8]), isDrafted: true };
    const cost = { passMs: 10, msPerRow: 2, callMs: () => 3, msPerDraft: () => 0.5 };
    expect(depthsOf([stream([0.9, 0.9]), found], cost)).toEqual([0, 2]);
    // Each draft takes time, however many are made at once.
    const many = Array.from({ length: 8 }, () => stream([0.9]));
    expect(depthsOf(many, { ...cost, msPerRow: 0.5, callMs: () => 0, msPerDraft: () => 1 })[0]).toBe(0);
    expect(depthsOf(many, { ...cost, msPerRow: 0.5, callMs: () => 0, msPerDraft: () => 0 })[0]).toBe(1);
  });

  it('falls as streams fill the scheduler', () => {
    const many = (count: number) =>
      depthsOf(
        Array.from({ length: count }, () => stream([0.94, 0.5, 0.3, 0.3])),
        { passMs: 100 + count, msPerRow: 1, callMs: () => 2, msPerDraft: () => 0 },
      )[0];
    expect([1, 16, 64, 4000].map(many)).toEqual([3, 2, 1, 0]);
  });
});

describe('bestRate', () => {
  it('is that of the best depth, and of none where drafts do not pay', () => {
    const stream = { maxDrafts: 2, isDrafted: false, reach: (depth: number) => [0.9, 0.1][depth - 1]! };
    expect(bestRate(stream, { passMs: 10, msPerRow: 2, callMs: () => 1, msPerDraft: () => 0 })).toBeCloseTo(1.9 / 13);
    expect(bestRate(stream, { passMs: 10, msPerRow: 0, callMs: () => 0, msPerDraft: () => 0 })).toBeCloseTo(0.2);
    expect(bestRate(stream, { passMs: 1, msPerRow: 2, callMs: () => 1, msPerDraft: () => 0 })).toBe(1);
  });
});

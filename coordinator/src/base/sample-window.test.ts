import { describe, expect, it } from 'vitest';
import { SampleWindow } from './sample-window.ts';

describe('SampleWindow', () => {
  it('gives the nearest rank of what it holds', () => {
    const window = new SampleWindow(100);
    expect(window.quantile(0.5)).toBeNull();
    for (let i = 20; i >= 1; i--) window.add(i);
    expect([0, 0.5, 0.95, 1].map((q) => window.quantile(q))).toEqual([1, 10, 19, 20]);
  });

  it('forgets the oldest, and everything when told', () => {
    const window = new SampleWindow(3);
    for (const sample of [100, 1, 2, 3]) window.add(sample);
    expect([window.length, window.quantile(1)]).toEqual([3, 3]);
    window.clear();
    expect(window.quantile(1)).toBeNull();
  });
});

import { describe, expect, it } from 'vitest';
import { LoadMeter } from './load.ts';
import { effectiveLoad, replicaCounts } from './replica-counts.ts';

describe('LoadMeter', () => {
  it('counts what came since the last reading, and half of what came a half-life before', () => {
    const meter = new LoadMeter(2, 1000);
    expect([...meter.read([100, 0], 0)]).toEqual([100, 0]);
    expect([...meter.read([100, 8], 1000)]).toEqual([50, 8]);
    expect([...meter.read([102, 8], 3000)]).toEqual([12.5 + 2, 2]);
  });

  it('takes counters that began anew, and a clock that went back', () => {
    const meter = new LoadMeter(1, 1000);
    meter.read([40], 5000);
    expect([...meter.read([6], 5000)]).toEqual([46]);
    expect([...meter.read([6], 1000)]).toEqual([46]);
  });
});

describe('replicaCounts', () => {
  const none = new Int32Array(12);
  const load = Float64Array.of(90, 132, 40, 61, 104, 165, 39, 4, 73, 56, 183, 86);

  it('gives every expert one before any two, and the hottest first where memory is short', () => {
    expect([...replicaCounts(load, none, { slots: 3, replicas: 2, maxReplicas: 2 })]).toEqual(
      [...load].map((rows) => Number(rows >= 132)),
    );
    expect([...replicaCounts(load, none, { slots: 15, replicas: 2, maxReplicas: 2 })]).toEqual(
      [...load].map((rows) => 1 + Number(rows >= 132)),
    );
    expect([...replicaCounts(load, none, { slots: 999, replicas: 2, maxReplicas: 3 })]).toEqual([...load].map(() => 3));
  });

  it('leaves a replica where it is until another expert is clearly hotter', () => {
    const now = Int32Array.from(load, (_, e) => (e === 0 ? 2 : 1));
    const counts = (hottest: number): number => {
      const skewed = load.with(5, hottest).with(10, 0).with(1, 0);
      return replicaCounts(skewed, now, { slots: 13, replicas: 2, maxReplicas: 2 })[0]!;
    };
    expect(counts(165)).toBe(2);
    expect(counts(190)).toBe(1);
  });

  it('counts nothing as idle', () => {
    expect([...effectiveLoad(3, undefined)]).toEqual([1, 1, 1]);
    expect([...effectiveLoad(3, [0, 0, 0])]).toEqual([1, 1, 1]);
    expect(Math.min(...effectiveLoad(3, [0, 0, 9]))).toBeGreaterThan(0);
  });
});

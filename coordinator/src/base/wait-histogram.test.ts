import { describe, expect, it } from 'vitest';
import { addWait, addWaits, noWaits, waitQuantile, waitsIn } from './wait-histogram.ts';

describe('waitQuantile', () => {
  it('is null of nothing, and within its bucket otherwise', () => {
    const counts = noWaits();
    expect(waitQuantile(counts, 0.95)).toBeNull();
    for (let ms = 1; ms <= 100; ms++) addWait(counts, ms * 10);
    expect(waitsIn(counts)).toBe(100);
    expect(waitQuantile(counts, 0.5)).toBe(500);
    expect(waitQuantile(counts, 0.95)).toBe(950);
    expect(waitQuantile(counts, 0.01)).toBe(10);
  });

  it('is of all members’ waits together, and at most the last bound', () => {
    const [fast, slow] = [noWaits(), noWaits()];
    for (let i = 0; i < 90; i++) addWait(fast, 15);
    for (let i = 0; i < 10; i++) addWait(slow, 3_600_000);
    addWaits(fast, slow);
    expect(waitQuantile(fast, 0.5)!).toBeLessThan(20);
    expect(waitQuantile(fast, 0.95)).toBe(600_000);
  });
});

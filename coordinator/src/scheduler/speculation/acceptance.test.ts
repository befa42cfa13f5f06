import { describe, expect, it } from 'vitest';
import { Acceptance } from './acceptance.ts';

describe('Acceptance', () => {
  it('begins with the prior, learns each depth from the drafts that reached it, and forgets', () => {
    const acceptance = new Acceptance((depth) => (depth === 1 ? 0.8 : 0.4), 0.9);
    expect([acceptance.rate(1), acceptance.rate(2)]).toEqual([0.8, 0.4]);
    for (let i = 0; i < 50; i++) acceptance.judge(3, 1);
    expect(acceptance.rate(1)).toBeGreaterThan(0.9);
    expect(acceptance.rate(2)).toBeLessThan(0.15);
    expect(acceptance.rate(3)).toBe(0.4);
    expect(acceptance.reach(2)).toBeCloseTo(acceptance.rate(1) * acceptance.rate(2));
    for (let i = 0; i < 50; i++) acceptance.judge(1, 0);
    expect(acceptance.rate(1)).toBeLessThan(0.3);
  });
});

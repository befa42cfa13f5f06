import { describe, expect, it } from 'vitest';
import { Acceptance, reachOf } from './acceptance.ts';

describe('Acceptance', () => {
  it('begins with the priors, learns each depth from the drafts that reached it, and forgets', () => {
    const priors = [0.8, 0.4, 0.4];
    const acceptance = new Acceptance(0.9);
    expect(acceptance.rates(priors)).toEqual(priors);
    for (let i = 0; i < 50; i++) acceptance.judge(3, 1);
    const [first, second, third] = acceptance.rates(priors);
    expect(first).toBeGreaterThan(0.9);
    expect(second).toBeLessThan(0.15);
    expect(third).toBe(0.4);
    expect(reachOf([first!, second!])).toEqual([first, first! * second!]);
    for (let i = 0; i < 50; i++) acceptance.judge(1, 0);
    expect(acceptance.rates(priors)[0]).toBeLessThan(0.3);
  });

  it('expects of depths beyond its experience what it has seen before them, whether that is better or worse', () => {
    const acceptance = new Acceptance(0.99);
    for (let i = 0; i < 40; i++) acceptance.judge(2, 2);
    for (const rate of acceptance.ratesFrom(0.6, 4)) expect(rate).toBeGreaterThan(0.9);
    for (let i = 0; i < 99; i++) acceptance.judge(2, 1);
    expect(acceptance.ratesFrom(0.6, 4).map((rate) => rate > 0.5)).toEqual([true, false, false, false]);
  });
});

import type { DonorInfo } from '@shoal/protocol';
import { describe, expect, it } from 'vitest';
import { expectedOf } from './expected.ts';
import { needText } from './need-text.ts';

const info = (need: Partial<DonorInfo['need']> = {}): DonorInfo => ({
  model: {
    id: 'tiny-stories',
    quant: 'f16',
    layers: 5,
    expertsPerLayer: 32,
    expertsPerToken: 4,
    shardBytes: 73_728,
    pledgeBytesPerExpert: 86_740,
  },
  operator: {},
  need: { servingTabs: 4, uncovered: 0, thin: 0, replicas: 2, ...need },
  traffic: { bytesPerTokenAndLayer: 768, tokensPerSecond: 20 },
  inviteOnly: false,
  takesCpu: true,
});

describe('what lending comes to', () => {
  it('is never more than the model, however much is lent', () => {
    const all = expectedOf(info(), 2 ** 30);
    expect(all).toMatchObject({ experts: 160, allExperts: 160, downloadBytes: 160 * 73_728 });
    expect(all.bytesPerToken).toBe(5 * 768);
    expect(all.bytesPerHour).toBe(5 * 768 * 20 * 3600);
  });

  it('is what fits, and a part of a layer sees a part of its tokens', () => {
    const some = expectedOf(info(), 40 * 86_740);
    expect(some).toMatchObject({ experts: 40, downloadBytes: 40 * 73_728 });
    expect(some.bytesPerToken / 768).toBeCloseTo(1 + (1 - 0.75 ** 4), 10);
  });

  it('is nothing for too small a pledge, or where no expert is on tabs', () => {
    expect(expectedOf(info(), 1000)).toMatchObject({ experts: 0, downloadBytes: 0, bytesPerToken: 0 });
    const none = { ...info(), model: { ...info().model, layers: 0 } };
    expect(expectedOf(none, 2 ** 30)).toMatchObject({ experts: 0, allExperts: 0, bytesPerHour: 0 });
  });
});

describe('what is needed', () => {
  it.each([
    [{ servingTabs: 0, uncovered: 160, thin: 160 }, /first.*computes everything itself/],
    [{ servingTabs: 1, uncovered: 60, thin: 160 }, /needed: 60 of 160 experts/],
    [{ servingTabs: 4, uncovered: 0, thin: 80 }, /All 160 experts are served by 4 tabs.*80 of them/],
    [{ servingTabs: 4, uncovered: 0, thin: 0 }, /All 160 experts are served by 4 tabs, each by 2 or more/],
    [{ servingTabs: 1, uncovered: 0, thin: 0, replicas: 1 }, /All 160 experts are served by 1 tab\./],
  ])('with %o', (need, text) => {
    expect(needText(info(need))).toMatch(text);
  });

  it('is nothing where no expert is on tabs', () => {
    expect(needText({ ...info(), model: { ...info().model, layers: 0 } })).toMatch(/no tabs/);
  });
});

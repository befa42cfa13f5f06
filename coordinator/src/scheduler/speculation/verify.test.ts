import { describe, expect, it } from 'vitest';
import { verifyDrafts } from './verify.ts';

describe('verifyDrafts', () => {
  it.each<[string, number[], (number | undefined)[], number]>([
    ['all right', [1, 2, 3], [1, 2, 3, 9], 3],
    ['the second wrong', [1, 2, 3], [1, 7], 1],
    ['the first wrong', [1, 2], [5], 0],
    ['none', [], [4], 0],
    ['right until the answer ends', [1, 2, 3], [1, undefined], 1],
  ])('takes tokens as far as drafts are right: %s', (_, drafts, choices, accepted) => {
    const asked: number[] = [];
    const choose = (i: number): number | undefined => {
      asked.push(i);
      return choices[i];
    };
    expect(verifyDrafts(drafts, choose)).toBe(accepted);
    expect(asked).toEqual(choices.map((_choice, i) => i));
  });
});

import { describe, expect, it } from 'vitest';
import { chain } from './draft-tree.ts';
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
    const choose = (node: number): number | undefined => {
      asked.push(node);
      return choices[node + 1];
    };
    expect(verifyDrafts(chain(drafts), choose)).toEqual(Array.from({ length: accepted }, (_each, i) => i));
    expect(asked).toEqual(choices.map((_choice, i) => i - 1));
  });
});

it('verifyDrafts walks down the branch that is chosen, and asks for nothing else', () => {
  const tree = { tokens: [5, 6, 7, 5, 8, 7], parents: [-1, -1, 0, 1, 1, 4] };
  const walk = (choices: Record<number, number | undefined>): readonly number[] =>
    verifyDrafts(tree, (node) => (node in choices ? choices[node] : expect.fail(`${node} was asked for`)));
  expect(walk({ [-1]: 6, 1: 8, 4: 7, 5: 1 })).toEqual([1, 4, 5]);
  // 5 also is a draft after another node.
  expect(walk({ [-1]: 5, 0: 5 })).toEqual([0]);
  expect(walk({ [-1]: 6, 1: 5, 3: undefined })).toEqual([1, 3]);
  expect(walk({ [-1]: 9 })).toEqual([]);
});

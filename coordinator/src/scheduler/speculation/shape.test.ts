import { createRng } from '@shoal/model';
import { describe, expect, it } from 'vitest';
import { Confidence } from './confidence.ts';
import { pathTo } from './draft-tree.ts';
import { chooseNodes, leastChance, type PossibleDrafts, type ShapedStream } from './shape.ts';

/** Drafts whose tokens are their numbers. */
function drafts(parents: number[], chances: number[]): PossibleDrafts {
  const numbers = parents.map((_, node) => node);
  return { tokens: numbers, parents, chances, kinds: numbers };
}

const stream = (possible: PossibleDrafts, more: Partial<ShapedStream> = {}): ShapedStream => {
  return { drafts: possible, limit: 15, leastDepth: 0, ...more };
};

const chosen = (
  streams: ShapedStream[],
  msPerRow: number,
  tokens = streams.length,
  room = 100,
): (readonly number[])[] => chooseNodes(streams, { passMs: 100, msPerRow, tokens, room }).map(({ kinds }) => kinds);

describe('chooseNodes', () => {
  // 0 → 1 → 2, and 3 beside 0, 4 beside 1.
  const unsure = drafts([-1, 0, 1, -1, 0], [0.5, 0.3, 0.02, 0.4, 0.15]);
  const sure = drafts([-1, 0, 1, -1, 0], [0.95, 0.9, 0.85, 0.03, 0.04]);

  it('takes branches where the drafter is unsure, and depth where it is sure', () => {
    expect(chosen([stream(unsure, { limit: 3 })], 1)).toEqual([[0, 1, 3]]);
    expect(chosen([stream(sure, { limit: 3 })], 1)).toEqual([[0, 1, 2]]);
  });

  it('takes as many as their rows’ time is worth, of all sequences the likeliest', () => {
    expect(chosen([stream(unsure)], 0)).toEqual([[0, 1, 2, 3, 4]]);
    // With 0, 1 and 3 a pass gives 2.2 tokens in 115 ms; a row takes as long as 0.1 tokens.
    expect(chosen([stream(unsure)], 5)).toEqual([[0, 1, 3, 4]]);
    expect(chosen([stream(unsure), stream(sure)], 20)).toEqual([[], [0, 1, 2]]);
    expect(chosen([stream(unsure)], 1000)).toEqual([[]]);
    expect(chosen([stream(unsure), stream(sure)], 0, 2, 4)).toEqual([[0], [0, 1, 2]]);
    expect(leastChance({ passMs: 100, msPerRow: 5, tokens: 2 })).toBe(0.1);
    expect(leastChance({ passMs: 0, msPerRow: 0, tokens: 2 })).toBe(0);
  });

  it('takes the likeliest path as far as it is to be tried, whatever it costs', () => {
    expect(chosen([stream(unsure, { leastDepth: 2 }), stream(sure)], 1000)).toEqual([[0, 1], []]);
    expect(chosen([stream(drafts([-1, -1, 1], [0.1, 0.6, 0.5]), { leastDepth: 3 })], 1000)).toEqual([[1, 2]]);
  });

  it('makes trees in which parents come before their children', () => {
    const rng = createRng(3);
    for (let round = 0; round < 50; round++) {
      const parents = Array.from({ length: 30 }, (_, i) => Math.floor(rng() * (i + 1)) - 1);
      const chances: number[] = [];
      for (const parent of parents) chances.push((chances[parent] ?? 1) * rng());
      const possible = drafts(parents, chances);
      const limit = 1 + Math.floor(rng() * 20);
      const [tree] = chooseNodes([stream(possible, { limit, leastDepth: 2 })], {
        passMs: 100,
        msPerRow: 1,
        tokens: 1,
        room: 25,
      });
      expect(tree!.tokens.length).toBeLessThanOrEqual(limit);
      for (const [node, original] of tree!.kinds.entries()) {
        const path = pathTo(tree!, node).map((each) => tree!.tokens[each]);
        expect(path).toEqual(pathTo(possible, original));
        expect(tree!.parents[node]).toBeLessThan(node);
      }
    }
  });
});

describe('Confidence', () => {
  it('follows how often drafts of a kind are right, from what their drafter says of them', () => {
    const confidence = new Confidence();
    const [first, other] = [true, false].map((isDrawn) => ({ depth: 1, probability: 0.3, isDrawn }));
    expect([confidence.rate(first!), confidence.rate(other!)]).toEqual([0.5, 0.3]);
    for (let i = 0; i < 200; i++) confidence.judge(confidence.kindOf(first!), i % 10 > 0);
    expect(confidence.rate(first!)).toBeCloseTo(0.9, 1);
    expect(confidence.rate(other!)).toBe(0.3);
    expect(confidence.rate({ ...first!, depth: 2 })).toBe(0.5);
    expect(confidence.kindOf({ ...first!, depth: 9 })).toBe(confidence.kindOf({ ...first!, depth: 4 }));
    expect(confidence.kindOf({ ...first!, probability: 0 })).toBe(confidence.kindOf({ ...first!, probability: 1e-9 }));
  });
});

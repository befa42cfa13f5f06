import { createRng } from '@shoal/model';
import { describe, expect, it } from 'vitest';
import { Draws } from './draws.ts';

describe('Draws', () => {
  it('come in order, however far ahead `peek` has looked', () => {
    const [rng, draws] = [createRng(3), new Draws(createRng(3))];
    const expected = Array.from({ length: 9 }, rng);
    expect([draws.peek(2), draws.peek(0), draws.next(), draws.peek(3)]).toEqual([2, 0, 0, 4].map((i) => expected[i]!));
    expect(Array.from({ length: 8 }, () => draws.next())).toEqual(expected.slice(1));
  });
});

import { createRng } from '@shoal/model';
import { describe, expect, it } from 'vitest';
import { LongestPlaces, TokenIndex } from './token-index.ts';

function search(index: TokenIndex, ids: readonly number[], before?: number): { at: number; length: number }[] {
  const places = new LongestPlaces();
  index.search(ids, places, before);
  return places.list.map(({ at, length }) => ({ at, length }));
}

const ids = (text: string): number[] => Array.from(text, (char) => char.charCodeAt(0));

describe('TokenIndex', () => {
  it('finds the places with most in common, of equal ones the latest, and tells what they have next', () => {
    const index = new TokenIndex();
    const text = ids('abcdXbcYZabcWbc');
    index.append(text, 0, text.length);
    expect(search(index, ids('..abc'))).toEqual([
      { at: 11, length: 3 },
      { at: 2, length: 3 },
      { at: 14, length: 2 },
      { at: 6, length: 2 },
    ]);
    expect(search(index, ids('..abc'), 11)).toEqual([
      { at: 2, length: 3 },
      { at: 6, length: 2 },
    ]);
    expect(String.fromCharCode(index.tokenAt(12)!)).toBe('W');
    expect(index.tokenAt(15)).toBeUndefined();
    for (const end of ['', 'c', 'cb', 'Xc']) expect(search(index, ids(end))).toEqual([]);
  });

  it('finds nothing that lies in two texts', () => {
    const index = new TokenIndex();
    for (const text of ['abc', 'def']) {
      index.append(ids(text), 0, 3);
      index.endText();
    }
    expect(search(index, ids('cd'))).toEqual([]);
    expect(search(index, ids('abcdef'))).toEqual([{ at: 6, length: 3 }]);
    expect(index.tokenAt(3)).toBeUndefined();
  });

  it('finds what a search of the whole text finds, while the text grows', () => {
    const rng = createRng(8);
    for (let round = 0; round < 30; round++) {
      const index = new TokenIndex();
      const text: number[] = [];
      while (text.length < 200) {
        const more = 1 + Math.floor(rng() * 30);
        for (let i = 0; i < more; i++) text.push(Math.floor(rng() * 5));
        index.append(text, index.length, text.length);
        const expected = longest(text, 0);
        expect(search(index, text, text.length - 1)[0]).toEqual(expected);
      }
    }
  });

  it('forgets the oldest tokens, keeps its size, and finds what is left', () => {
    const rng = createRng(9);
    const index = new TokenIndex(256);
    const text: number[] = [];
    for (let round = 0; round < 60; round++) {
      const more = 1 + Math.floor(rng() * 40);
      for (let i = 0; i < more; i++) text.push(Math.floor(rng() * 4));
      index.append(text, index.length, text.length);
      expect(search(index, text, text.length - 1)[0]).toEqual(longest(text, text.length - 256));
    }
    expect(text.length).toBeGreaterThan(1000);
    expect(index.bytes).toBe(12 * 256);
    // A text longer than the index leaves its end there.
    const long = Array.from({ length: 1000 }, (_, i) => 10 + i);
    index.append(long, 0, long.length);
    expect(search(index, long.slice(0, 900))).toEqual([{ at: index.length - 101, length: 64 }]);
    expect(search(index, long.slice(0, 700))).toEqual([]);
  });
});

/** The latest of the places from `first` on that have most in common with the end of the text, among the latest 128. */
function longest(text: readonly number[], first: number): { at: number; length: number } | undefined {
  const end = text.length - 1;
  let best: { at: number; length: number } | undefined;
  for (let at = end - 1; at >= Math.max(0, first); at--) {
    let length = 0;
    while (length < 64 && at - length >= Math.max(0, first) && text[at - length] === text[end - length]) length++;
    if (length > (best?.length ?? 1)) best = { at, length };
  }
  return best;
}

import { expect, it } from 'vitest';
import { contrast, peerColour, peerLetter, peerMark } from './palette.ts';

it('gives every peer colour at least 3:1 against the surface it is drawn on', () => {
  for (let i = 0; i < 8; i++) {
    expect(contrast(peerColour(i, 'light'), '#ffffff')).toBeGreaterThanOrEqual(3);
    expect(contrast(peerColour(i, 'dark'), '#171e24')).toBeGreaterThanOrEqual(3);
  }
  expect(contrast('#000000', '#ffffff')).toBeCloseTo(21);
});

it('tells the ninth peer from the first by a mark and a letter', () => {
  expect(peerColour(8, 'light')).toBe(peerColour(0, 'light'));
  expect([peerMark(0), peerMark(7), peerMark(8), peerMark(16)]).toEqual([0, 0, 1, 2]);
  expect([0, 25, 26, 27, 701, 702].map(peerLetter)).toEqual(['A', 'Z', 'AA', 'AB', 'ZZ', 'AAA']);
});

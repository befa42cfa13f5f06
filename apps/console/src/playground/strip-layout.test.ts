import type { TokenTrace } from '@shoal/protocol';
import { describe, expect, it } from 'vitest';
import { GUTTER_PX, niceCeiling, peerShares, stepFrom, stripLayout, tokenAt, visibleText } from './strip-layout.ts';

describe('the strip', () => {
  // Columns of 26 px: three to a line of 80.
  const layout = stripLayout([20, 20, 20, 20, 20], GUTTER_PX + 80);
  it('breaks into lines like text', () => {
    expect(layout.lines).toEqual([
      { start: 0, end: 3 },
      { start: 3, end: 5 },
    ]);
    expect(layout.x).toEqual([0, 26, 52, 0, 26].map((x) => x + GUTTER_PX));
  });
  it('keeps a word that is wider than the line within it', () => {
    const narrow = stripLayout([500, 1], GUTTER_PX + 60);
    expect(narrow.columnPx).toEqual([60, 12]);
    expect(narrow.lines.length).toBe(2);
    expect(stripLayout([], 100).lines).toEqual([]);
  });
  it('finds the token under a point', () => {
    expect([0, GUTTER_PX + 25, GUTTER_PX + 26, 900].map((x) => tokenAt(layout, 0, x))).toEqual([0, 0, 1, 2]);
    expect(tokenAt(layout, 1, GUTTER_PX + 30)).toBe(4);
    expect(tokenAt(layout, 2, 0)).toBeNull();
  });
  it('moves by keys along and between lines and stops at the ends', () => {
    const go = (at: number, ...keys: string[]) => keys.reduce((t, key) => stepFrom(layout, t, key) ?? -1, at);
    expect(go(0, 'ArrowLeft')).toBe(0);
    expect(go(0, 'ArrowRight', 'ArrowDown')).toBe(4);
    expect(go(2, 'ArrowDown')).toBe(4);
    expect(go(4, 'ArrowDown')).toBe(4);
    expect(go(4, 'ArrowUp', 'ArrowUp')).toBe(1);
    expect(go(1, 'End', 'ArrowRight')).toBe(4);
    expect(go(4, 'Home')).toBe(0);
    expect(stepFrom(layout, 0, 'x')).toBeNull();
    expect(stepFrom(stripLayout([], 100), 0, 'End')).toBeNull();
  });
  it('makes whitespace visible', () => {
    expect(['', ' ', '\n', ' cat', '\n\n'].map(visibleText)).toEqual(['·', '␣', '⏎', 'cat', '⏎⏎']);
  });
});

describe('figures of a trace', () => {
  const lap = (...peers: (string | null)[]) => ({
    layer: 1,
    lapMs: 1,
    experts: peers.map((peerId, expert) => ({ expert, weight: 0.5, peerId })),
  });
  it('counts expert work by tab, the coordinator last', () => {
    const tokens: TokenTrace[] = [
      { id: 1, text: 'a', laps: [lap(null, 'p1')] },
      { id: 2, text: 'b', laps: [lap('p2', 'p1')] },
    ];
    expect(peerShares(tokens)).toEqual([
      { peerId: 'p1', experts: 2, share: 0.5 },
      { peerId: 'p2', experts: 1, share: 0.25 },
      { peerId: null, experts: 1, share: 0.25 },
    ]);
    expect(peerShares([])).toEqual([]);
  });
  it('rounds a scale up to 1, 2 or 5', () => {
    expect([0, 0.03, 0.3, 1, 1.1, 4, 7, 100, 120].map(niceCeiling).map((v) => Number(v.toPrecision(3)))).toEqual([
      1, 0.05, 0.5, 1, 2, 5, 10, 100, 200,
    ]);
  });
});

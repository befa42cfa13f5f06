import type { LabLayer, LabStudy } from '@shoal/protocol';
import { describe, expect, it } from 'vitest';
import { pictureLayout, pictureOf, pointAt, shadeOf, titleOf } from './picture.ts';
import { cellsOf, changedShare, csvOf, summaryOf } from './study.ts';
import { assignmentLayer, slotLayer, studyOf } from './testing/studies.ts';

const COLOURS = {
  surface: '#fff',
  text: '#000',
  muted: '#555',
  trouble: '#c00',
  bar: '#888',
  ramp: ['#eee', '#111', '#222', '#333', '#444', '#555'],
};
const draw = (study: LabStudy, width = 900) =>
  pictureOf(study, pictureLayout(width, study.layers.length, study.tokens.length, study.experts), COLOURS);

/** Tokens with 2, 0 and 1 of four experts; the second had no room at expert 3. */
const layer: LabLayer = assignmentLayer(
  1,
  4,
  [
    [
      [2, 0.75],
      [0, 0.25],
    ],
    [],
    [[1, 1]],
  ],
  [[1, 3]],
);
const study = studyOf({ layers: [layer], texts: ['Once', ' "a", <b>', '=cmd'] });

describe('a study', () => {
  it('gives each token its experts with their weights', () => {
    expect(cellsOf(layer, 0)).toEqual([
      { token: 0, expert: 2, weight: 0.75 },
      { token: 0, expert: 0, weight: 0.25 },
    ]);
    expect(cellsOf(layer, 1)).toEqual([]);
    expect(cellsOf(layer, 2)).toEqual([{ token: 2, expert: 1, weight: 1 }]);
  });

  it('sums a token’s weights of an expert’s slots', () => {
    const slots = slotLayer(0, { experts: 2, slotsPerExpert: 2, combine: [[0.125, 0.5, 0.25, 0.125]] });
    expect(cellsOf(slots, 0)).toEqual([
      { token: 0, expert: 0, weight: 0.625 },
      { token: 0, expert: 1, weight: 0.375 },
    ]);
  });

  it('is summed up over layers', () => {
    const other = assignmentLayer(2, 4, [[[0, 1]], [[1, 1]], [[2, 1]]]);
    const both = studyOf({ layers: [layer, other], texts: ['a', 'b', 'c'] });
    const summary = summaryOf(both);
    expect(summary.expertsPerToken).toEqual([0, 1, 2]);
    expect(summary.dropped).toBeCloseTo(1 / 7, 12);
    expect(summary.withoutExpert).toBeCloseTo(1 / 6, 12);
    expect(summary.evenness).toBeCloseTo((Math.log2(3) + Math.log2(3)) / 2 / 2, 12);
    expect(summary.bytesPerToken).toBe(layer.figures.bytesPerToken + other.figures.bytesPerToken);
  });

  it('tells how many of the model’s choices another gate does not make', () => {
    const other = studyOf({ layers: [assignmentLayer(1, 4, [[[2, 1]], [[1, 1]], [[3, 1]]])], texts: ['a', 'b', 'c'] });
    expect(changedShare(study, other)).toBeCloseTo(2 / 3, 12);
    expect(changedShare(study, study)).toBe(0);
    const slots = slotLayer(1, { experts: 4, slotsPerExpert: 1, combine: [[1, 0, 0, 0]] });
    expect(changedShare(study, studyOf({ layers: [slots], texts: ['a'] }))).toBeNull();
  });
});

describe('csvOf', () => {
  it('has a line for each assignment, and for each that had no room, quoted as RFC 4180 has it', () => {
    expect(csvOf(study).split('\r\n')).toEqual([
      'gate,layer,position,token_id,token,expert,weight,dropped',
      'top-1-capacity,1,0,0,Once,2,0.75,0',
      'top-1-capacity,1,0,0,Once,0,0.25,0',
      'top-1-capacity,1,1,1," ""a"", <b>",3,0,1',
      "top-1-capacity,1,2,2,'=cmd,1,1,0",
      '',
    ]);
  });

  it('has a line for each token and slot', () => {
    const slots = slotLayer(1, {
      experts: 2,
      slotsPerExpert: 1,
      combine: [
        [0.5, 0.5],
        [0.25, 0.75],
      ],
    });
    expect(
      csvOf(studyOf({ layers: [slots], texts: ['a', 'b'] }))
        .split('\r\n')
        .slice(0, 3),
    ).toEqual([
      'gate,layer,position,token_id,token,slot,expert,dispatch,combine',
      'top-1-capacity,1,0,0,a,0,0,0.5,0.5',
      'top-1-capacity,1,0,0,a,1,1,0.5,0.5',
    ]);
  });
});

describe('pictureOf', () => {
  it('has a cell for each assignment, a cross for each that had no room, and a bar for each load', () => {
    const svg = draw(study);
    const paths = [...svg.matchAll(/<path fill="(#\d+)" d="([^"]*)"/g)].map(([, fill, d]) => [
      fill,
      d!.split('M').length - 1,
    ]);
    expect(paths).toEqual([
      ['#222', 1],
      ['#444', 1],
      ['#555', 1],
      ['#888', 3],
    ]);
    expect(svg.match(/stroke="#c00"[^>]*d="([^"]*)"/)![1]!.split('M').length - 1).toBe(2);
  });

  it('says whose gate it is, and writes tokens as text, whatever is in them', () => {
    expect(titleOf(study)).toBe('For study, not the model’s gate: Top 1 (k 1)');
    expect(titleOf({ ...study, isOwn: true })).toBe('The model’s own gate: Top 1');
    const long = { ...study, settings: Object.fromEntries('abcdefghijklm'.split('').map((name) => [name, 0.12345])) };
    const narrow = pictureOf(long, pictureLayout(280, 1, 3, 4), COLOURS);
    expect(narrow).toContain('>For study, not the model’s gate<');
    expect(narrow).toMatch(/>Top 1 \(a 0\.12345, [^<]*…</);
    const hostile = studyOf({
      layers: [assignmentLayer(0, 4, [[], []])],
      texts: ['</text><script>&"', '\u0000\ud83e\udd8a'],
    });
    const svg = draw(hostile);
    expect(svg).toContain('&lt;/text&gt;');
    expect(svg).not.toContain('<script');
    expect(svg).not.toContain('\u0000');
    expect(svg).toContain('🦊');
  });

  it('finds what is under a point, in every panel', () => {
    const layout = pictureLayout(900, 3, 10, 8);
    expect(layout.columns).toBe(3);
    const { cellWidth, cellHeight, panelWidth } = layout;
    const [x, y] = [34 + 2.5 * cellWidth, 72 + 5.5 * cellHeight];
    expect(pointAt(layout, 3, x, y)).toEqual({ index: 0, token: 2, expert: 5 });
    expect(pointAt(layout, 3, x + 2 * (panelWidth + 18), y)).toEqual({ index: 2, token: 2, expert: 5 });
    expect(pointAt(layout, 3, 5, y)).toBeNull();
  });

  it.each([320, 900, 2400])('fits %d pixels where cells may be narrow enough', (width) => {
    for (const [layers, tokens, experts] of [
      [5, 37, 32],
      [58, 128, 256],
      [1, 1, 8],
    ] as const) {
      const layout = pictureLayout(width, layers, tokens, experts);
      if (tokens * 2 + 80 <= width) expect(layout.width).toBeLessThanOrEqual(width);
      expect(layout.cellWidth).toBeGreaterThanOrEqual(2);
    }
  });

  it('gives shades by steps, none only to nothing', () => {
    expect([0, 0.001, 0.2, 0.21, 1].map((weight) => shadeOf(weight, 1, 5))).toEqual([0, 1, 1, 2, 5]);
  });
});

import { describe, expect, it } from 'vitest';
import { cellAt, cellUnder, labelEvery, mapLayout, shadeOf } from './map-layout.ts';

describe('the map', () => {
  it.each([
    [300, 5, 32],
    [1200, 5, 32],
    [2400, 5, 32],
    [300, 58, 256],
    [1200, 58, 256],
    [2400, 58, 256],
  ])('in %i px: %i layers of %i experts, each cell found again and none outside', (width, layers, experts) => {
    const layout = mapLayout(width, layers, experts);
    expect(layout.widthPx).toBeLessThanOrEqual(width);
    expect(layout.pitchX).toBeGreaterThanOrEqual(4);
    for (let layer = 0; layer < layers; layer++) {
      for (let expert = 0; expert < experts; expert++) {
        const { x, y } = cellAt(layout, layer, expert);
        expect(x + layout.pitchX).toBeLessThanOrEqual(layout.widthPx);
        expect(y + layout.pitchY).toBeLessThanOrEqual(layout.heightPx);
        expect(cellUnder(layout, x + 1, y + 1)).toEqual({ layer, expert });
      }
    }
  });
  it('shows one row per layer where there is room, folds it where there is not', () => {
    expect(mapLayout(1200, 58, 256)).toMatchObject({ columns: 256, rowsPerLayer: 1, pitchX: 4 });
    expect(mapLayout(300, 58, 256)).toMatchObject({ columns: 64, rowsPerLayer: 4 });
  });
  it('finds nothing beside the cells', () => {
    const layout = mapLayout(300, 5, 33);
    expect(cellUnder(layout, 2, 40)).toBeNull();
    expect(cellUnder(layout, 100, 2)).toBeNull();
    expect(cellUnder(layout, 5000, 40)).toBeNull();
    expect(cellUnder(layout, 100, 5000)).toBeNull();
  });
  it('leaves out layer numbers that would overlap', () => {
    expect(labelEvery(mapLayout(1200, 5, 32))).toBe(1);
    expect(labelEvery(mapLayout(1200, 58, 256))).toBe(2);
  });
  it('shades in equal steps, with none for nothing', () => {
    expect([0, 0.001, 1, 2.5, 5].map((v) => shadeOf(v, 5, 5))).toEqual([0, 1, 1, 3, 5]);
    expect(shadeOf(3, 0, 5)).toBe(0);
  });
});

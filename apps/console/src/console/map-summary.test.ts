import type { PlacementView } from '@shoal/protocol';
import { describe, expect, it } from 'vitest';
import { layerSummaries, mapSummary } from './map-summary.ts';

const placement = (replicas: number[][]): PlacementView => ({
  epoch: 7,
  layers: replicas.map((_, i) => i + 1),
  expertsPerLayer: replicas[0]?.length ?? 0,
  replicas,
  load: replicas.map((row) => row.map((count) => count * 2)),
  holders: replicas.map((row) => row.map((count) => Array.from({ length: count }, (_, i) => i))),
  peerIds: ['a', 'b', 'c'],
});

describe('the map in words', () => {
  it('names the layers with uncovered experts', () => {
    expect(
      mapSummary(
        placement([
          [1, 2],
          [0, 2],
          [0, 0],
        ]),
      ),
    ).toBe('3 layers of 2 experts (epoch 7). 3 of 6 experts are on no tab (layers 2–3); 1 has only one replica.');
  });
  it('says so when all or none are covered', () => {
    expect(mapSummary(placement([[2, 2]]))).toContain('All 2 experts are on at least one tab; none has only one');
    expect(mapSummary(placement([[0, 0]]))).toContain('No expert is on any tab');
    expect(mapSummary(placement([]))).toContain('the coordinator computes them all');
  });
  it('sums up each layer', () => {
    expect(layerSummaries(placement([[1, 0, 3]]))).toEqual([
      { layer: 1, covered: 2, uncovered: { count: 1, text: '1' }, fewest: 0, tabs: 3, rowsPerSecond: 8 },
    ]);
  });
});

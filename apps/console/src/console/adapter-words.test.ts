import { describe, expect, it } from 'vitest';
import { adapterPlaces } from './adapter-words.ts';

describe('adapterPlaces', () => {
  it('names what is changed, and nothing else', () => {
    expect(adapterPlaces({ denseLayers: 6, expertLayers: 1, mixes: 0 })).toBe(
      'the coordinator’s part of 6 layers, routed experts of 1 layer',
    );
    expect(adapterPlaces({ denseLayers: 1, expertLayers: 0, mixes: 0 })).toBe('the coordinator’s part of 1 layer');
    expect(adapterPlaces({ denseLayers: 0, expertLayers: 0, mixes: 3 })).toBe('a mixture of 3 adapters, by token');
    expect(adapterPlaces({ denseLayers: 0, expertLayers: 2, mixes: 0 })).toBe('routed experts of 2 layers');
  });
});

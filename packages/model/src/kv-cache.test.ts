import { describe, expect, it } from 'vitest';
import { KvCache } from './kv-cache.ts';
import type { GqaConfig, MlaConfig } from './model-config.ts';

const mla: MlaConfig = {
  kind: 'mla',
  numAttentionHeads: 2,
  qLoraRank: null,
  kvLoraRank: 6,
  qkNopeHeadDim: 4,
  qkRopeHeadDim: 2,
  vHeadDim: 3,
  softmaxScale: 1,
};
const config = { attention: mla, numHiddenLayers: 3 };
const row = (value: number) => new Float32Array(8).fill(value);

function filled(length: number): KvCache {
  const cache = new KvCache(config);
  cache.append(length);
  for (let layer = 0; layer < 3; layer++) {
    for (let position = 0; position < length; position++) cache.write(layer, position, row(layer * 1000 + position), 0);
  }
  return cache;
}

/** One value per position. */
const read = (cache: KvCache, layer: number, length: number) =>
  cache.segments(layer, length).flatMap(({ values }) => [...values].filter((_, i) => i % 8 === 0));

describe('KvCache', () => {
  it('gives back each layer in order of positions, over many chunks', () => {
    const cache = filled(200);
    for (const length of [0, 1, 63, 64, 65, 200]) {
      expect(read(cache, 2, length)).toEqual(Array.from({ length }, (_, position) => 2000 + position));
    }
    expect(cache.segments(0, 130).map(({ start, count }) => [start, count])).toEqual([
      [0, 64],
      [64, 64],
      [128, 2],
    ]);
  });

  it('counts its bytes: 3 layers × 8 values × 4 bytes a token, in chunks of 64', () => {
    const cache = new KvCache(config);
    expect([cache.bytesPerToken, cache.allocatedBytes, cache.length]).toEqual([96, 0, 0]);
    cache.append(65);
    expect([cache.allocatedBytes, cache.length]).toEqual([2 * 64 * 96, 65]);
    cache.append(63);
    expect(cache.allocatedBytes).toBe(2 * 64 * 96);
  });

  it('is as wide as grouped keys and values: 2 layers × 2 × (3 heads × 5) × 4 bytes', () => {
    const gqa: GqaConfig = {
      kind: 'gqa',
      numAttentionHeads: 6,
      numKeyValueHeads: 3,
      headDim: 5,
      qkNorm: 'none',
      clipQkv: null,
      normAfterRope: false,
      bias: { qkv: false, o: false },
      sinks: false,
      temperature: null,
      softmaxScale: 1,
    };
    expect(new KvCache({ attention: gqa, numHiddenLayers: 2 }).bytesPerToken).toBe(240);
  });

  it('holds one layer where asked, as the MTP module needs', () => {
    expect(new KvCache(config, 1).bytesPerToken).toBe(32);
  });

  it('truncates, frees what nothing needs, and goes on from there', () => {
    const cache = filled(130);
    cache.truncate(64);
    expect([cache.length, cache.allocatedBytes]).toEqual([64, 64 * 96]);
    cache.append(1);
    cache.write(1, 64, row(7), 0);
    expect(read(cache, 1, 65).slice(62)).toEqual([1062, 1063, 7]);
    cache.truncate(0);
    expect(cache.allocatedBytes).toBe(0);
  });

  it('writes from the middle of an array', () => {
    const cache = new KvCache(config);
    cache.append(1);
    cache.write(
      0,
      0,
      Float32Array.from({ length: 12 }, (_, i) => i),
      3,
    );
    expect([...cache.segments(0, 1)[0]!.values]).toEqual([3, 4, 5, 6, 7, 8, 9, 10]);
  });

  it('refuses what it does not hold', () => {
    const cache = filled(2);
    expect(() => cache.truncate(3)).toThrow(RangeError);
    expect(() => cache.truncate(-1)).toThrow(RangeError);
    expect(() => cache.truncate(0.5)).toThrow(RangeError);
    expect(() => cache.write(0, 2, row(0), 0)).toThrow(/position 2/);
    expect(() => cache.write(3, 0, row(0), 0)).toThrow(/layer 3/);
  });
});

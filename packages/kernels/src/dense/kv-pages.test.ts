import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { type KvPaging, kvPaging, kvWidth, onePageTable, parseModelConfig, plainMhaWidth } from '@shoal/model';
import { describe, expect, it } from 'vitest';
import { KvMemoryError, PAGE_POSITIONS, PagedCache, PagePool } from './kv-pages.ts';

const published = join(import.meta.dirname, '../../../model/src/testing/published-configs');

const FULL = { kind: 'full' } as const;
const WINDOW = { kind: 'window', positions: 128 } as const;

const NO_COPIES = { page: () => {}, position: () => {} };

const pagesOf = ({ tables }: PagedCache): readonly number[] => tables[0]!.pages;

describe('the paged cache', () => {
  it('takes 70,394 bytes a token for DeepSeek-V3, 56.8 times less than plain MHA, as allocated', () => {
    const json = JSON.parse(readFileSync(join(published, 'DeepSeek-V3.json'), 'utf8')) as unknown;
    const { attention, numHiddenLayers } = parseModelConfig(json);
    const allocated = (width: number): number => {
      const pool = new PagePool({ paging: onePageTable(numHiddenLayers), width }, 2 ** 31, NO_COPIES);
      const cache = new PagedCache(pool);
      cache.append(10 * PAGE_POSITIONS);
      return pool.bytesInUse / cache.length;
    };
    expect(allocated(kvWidth(attention))).toBe(70_394);
    expect(allocated(plainMhaWidth(attention))).toBe(3_997_818);
    expect(allocated(plainMhaWidth(attention)) / allocated(kvWidth(attention))).toBeCloseTo(56.8, 1);
  });

  it('takes half of it for a long text of gpt-oss-20b, whose windows of 128 positions keep 8 pages', () => {
    const spans = Array.from({ length: 24 }, (_, layer) => (layer % 2 ? FULL : WINDOW));
    const paging = kvPaging({
      layerAttention: spans.map((span) => ({ span, rope: true })),
      numHiddenLayers: 24,
      numNextnPredictLayers: 0,
      maxPositionEmbeddings: 131_072,
    });
    // 8 key heads of 64 values, as keys and as values.
    const allocated = (from: KvPaging, length: number): number => {
      const pool = new PagePool({ paging: from, width: 2 * 8 * 64 }, 2 ** 33, NO_COPIES);
      const cache = new PagedCache(pool);
      while (cache.length < length - 1) cache.append(Math.min(256, length - 1 - cache.length));
      cache.append(1);
      return pool.bytesInUse / length;
    };
    expect(allocated(onePageTable(24), 131_072)).toBe(49_200);
    expect(allocated(paging, 131_072)).toBe(24_600 + (24_600 * 128) / 131_072);
    expect(allocated(paging, 4096)).toBe(24_600 + (24_600 * 128) / 4096);
    expect(allocated(paging, 128)).toBe(49_200);
  });

  it('keeps to its budget, and a refused append changes nothing', () => {
    const pool = new PagePool({ paging: onePageTable(2), width: 3 }, 4 * 256 + 100, NO_COPIES);
    expect(pool.numPages).toBe(4);
    const [a, b] = [new PagedCache(pool), new PagedCache(pool)];
    a.append(17);
    b.append(16);
    expect(() => b.append(33)).toThrow(KvMemoryError);
    expect([b.length, pool.freePages, pool.bytesInUse]).toEqual([16, 1, 3 * 256]);
    a.free();
    b.append(33);
    expect(pool.freePages).toBe(0);
  });

  it('copies a shared page before it is written to, and gives pages back when their last holder goes', () => {
    const copies: [number, number][] = [];
    const pool = new PagePool({ paging: onePageTable(1), width: 1 }, 64 * 64, {
      page: (from, to) => copies.push([from, to]),
      position: () => {},
    });
    const first = new PagedCache(pool);
    first.append(48);
    const second = first.fork(47);
    expect([second.length, pagesOf(second)]).toEqual([32, pagesOf(first).slice(0, 2)]);
    second.truncate(20);
    second.append(1);
    expect(copies).toEqual([[pagesOf(first)[1], pagesOf(second)[1]]]);
    expect(pagesOf(second)[1]).not.toBe(pagesOf(first)[1]);
    first.free();
    expect(pool.bytesInUse).toBe(2 * pool.bytesPerPage);
    second.free();
    expect(pool.bytesInUse).toBe(0);
  });

  it('gives back the pages that windows have passed, and goes back no further than they reach', () => {
    const paging = { layersPerPage: 2, fullTables: 1, windowTables: 2, reach: 20 };
    const pool = new PagePool({ paging, width: 3 }, 2 ** 20, NO_COPIES);
    const cache = new PagedCache(pool);
    for (let i = 0; i < 50; i++) cache.append(10);
    expect(cache.tables.map(({ first, pages }) => [first, pages.length])).toEqual([
      [0, 32],
      [29, 3],
      [29, 3],
    ]);
    expect(pool.bytesInUse).toBe(38 * pool.bytesPerPage);
    const fork = cache.fork(500);
    expect(fork.length).toBe(496);
    fork.free();
    expect(cache.fork(480).length).toBe(0);
    expect(() => cache.truncate(480)).toThrow(/window before position 480/);
    cache.truncate(484);
    cache.append(1);
    expect(cache.tables[1]).toMatchObject({ first: 29, pages: [expect.anything(), expect.anything()] });
    cache.free();
    expect([cache.length, pool.bytesInUse]).toEqual([0, 0]);
    cache.append(1);
    expect(cache.tables.map(({ first }) => first)).toEqual([0, 0, 0]);
  });
});

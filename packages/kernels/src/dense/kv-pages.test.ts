import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { kvWidth, parseModelConfig, plainMhaWidth } from '@shoal/model';
import { describe, expect, it } from 'vitest';
import { KvMemoryError, PAGE_POSITIONS, PagedCache, PagePool } from './kv-pages.ts';

const published = join(import.meta.dirname, '../../../model/src/testing/published-configs');

describe('the paged cache', () => {
  it('takes 70,394 bytes a token for DeepSeek-V3, 56.8 times less than plain MHA, as allocated', () => {
    const json = JSON.parse(readFileSync(join(published, 'DeepSeek-V3.json'), 'utf8')) as unknown;
    const { attention, numHiddenLayers } = parseModelConfig(json);
    const allocated = (width: number): number => {
      const pool = new PagePool({ numLayers: numHiddenLayers, width }, 2 ** 31, () => {});
      const cache = new PagedCache(pool);
      cache.append(10 * PAGE_POSITIONS);
      return pool.bytesInUse / cache.length;
    };
    expect(allocated(kvWidth(attention))).toBe(70_394);
    expect(allocated(plainMhaWidth(attention))).toBe(3_997_818);
    expect(allocated(plainMhaWidth(attention)) / allocated(kvWidth(attention))).toBeCloseTo(56.8, 1);
  });

  it('keeps to its budget, and a refused append changes nothing', () => {
    const pool = new PagePool({ numLayers: 2, width: 3 }, 4 * 256 + 100, () => {});
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
    const pool = new PagePool({ numLayers: 1, width: 1 }, 64 * 64, (from, to) => copies.push([from, to]));
    const first = new PagedCache(pool);
    first.append(48);
    const second = first.fork(47);
    expect([second.length, second.pages]).toEqual([32, first.pages.slice(0, 2)]);
    second.truncate(20);
    second.append(1);
    expect(copies).toEqual([[first.pages[1], second.pages[1]]]);
    expect(second.pages[1]).not.toBe(first.pages[1]);
    first.free();
    expect(pool.bytesInUse).toBe(2 * pool.bytesPerPage);
    second.free();
    expect(pool.bytesInUse).toBe(0);
  });
});

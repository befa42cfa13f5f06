import { createRng } from '@shoal/model';
import { describe, expect, it } from 'vitest';
import { collector } from '../../../../test/collect.ts';
import { KvPages } from './kv-pages.ts';
import type { PagedSequence } from './paged-sequence.ts';

const ids = (length: number, seed = 0): number[] => Array.from({ length }, (_, i) => (i * 7 + seed * 1000) % 70_000);

const pagesOf = ({ tables }: PagedSequence): readonly number[] => tables[0]!.pages;

describe('pages of the KV cache', () => {
  it('are taken as a sequence grows, and given back when it ends', () => {
    const pages = new KvPages({ numPages: 4, pagePositions: 8 });
    const sequence = pages.open(ids(10), 20)!;
    expect([pages.heldPages, pages.usedPages]).toEqual([0, 3]);
    sequence.append(10);
    expect([sequence.length, pagesOf(sequence).length, pages.heldPages]).toEqual([10, 2, 2]);
    sequence.append(10);
    expect(() => sequence.append(5)).toThrow(/opened for/);
    sequence.close();
    sequence.close();
    expect([pages.heldPages, pages.usedPages, pages.idlePages]).toEqual([0, 0, 0]);
  });

  it('with the same beginning are shared, while it is in use and afterwards', () => {
    const pages = new KvPages({ numPages: 8, pagePositions: 4 });
    const first = pages.open(ids(11), 12)!;
    first.append(11);
    first.commit(ids(11));
    const second = pages.open([...ids(9), 1, 2, 3], 16)!;
    expect(second.length).toBe(8);
    expect(pagesOf(second)).toEqual(pagesOf(first).slice(0, 2));
    expect(pages.heldPages).toBe(3);
    first.close();
    second.close();
    expect([pages.heldPages, pages.idlePages, pages.usedPages]).toEqual([0, 2, 0]);
    // The last position is always left to compute.
    expect(pages.open(ids(8), 8)!.length).toBe(4);
    expect(pages.reusedPositions).toBe(12);
  });

  it('of another scope are not shared', () => {
    const pages = new KvPages({ numPages: 8, pagePositions: 4 });
    const first = pages.open(ids(9), 9, 'key a')!;
    first.append(9);
    first.commit(ids(9));
    expect(pages.open(ids(9), 9, 'key b')!.length).toBe(0);
    expect(pages.open(ids(9), 9, 'key a')!.length).toBe(8);
  });

  it('computed twice at the same time become one', () => {
    const pages = new KvPages({ numPages: 8, pagePositions: 4 });
    const [first, second] = [pages.open(ids(9), 9)!, pages.open(ids(9), 9)!];
    for (const sequence of [first, second]) {
      sequence.append(9);
      sequence.commit(ids(9));
    }
    expect(pagesOf(second).slice(0, 2)).toEqual(pagesOf(first).slice(0, 2));
    expect(pages.heldPages).toBe(4);
  });

  it('are set aside to the end: who does not fit now is told so, and who never fits too', () => {
    const pages = new KvPages({ numPages: 4, pagePositions: 4 });
    const first = pages.open(ids(4), 12)!;
    expect(pages.open(ids(4, 1), 8)).toBeUndefined();
    expect(pages.open(ids(4, 1), 4)).toBeDefined();
    expect([pages.fits(16), pages.fits(17)]).toEqual([true, false]);
    first.append(12);
    expect(pagesOf(first)).toHaveLength(3);
  });

  it('that nobody uses make room, the least recently used first and never the beginning before the rest', () => {
    const pages = new KvPages({ numPages: 4, pagePositions: 2 });
    for (const seed of [1, 2]) {
      const sequence = pages.open(ids(5, seed), 5)!;
      sequence.append(5);
      sequence.commit(ids(5, seed));
      sequence.close();
    }
    // Two pages of each would be known, but the second's third page took the first's last one.
    expect(pages.open(ids(5, 1), 5)!.length).toBe(2);
  });

  it('that are known take little memory besides, however many there have been', () => {
    const numPages = 10_000;
    const pages = new KvPages({ numPages, pagePositions: 16 });
    const collect = collector();
    const rng = createRng(3);
    const fill = (count: number): number => {
      for (let filled = 0; filled < count; filled += 6) {
        const tokens = Array.from({ length: 100 }, () => Math.floor(rng() * 100_000));
        const sequence = pages.open(tokens, 100, 'a scope of some length')!;
        sequence.append(100);
        sequence.commit(tokens);
        sequence.close();
      }
      collect();
      return process.memoryUsage().heapUsed;
    };
    collect();
    const empty = process.memoryUsage().heapUsed;
    // Collections keep room for deleted entries; its size is stable once all have been replaced several times.
    const settled = fill(4 * numPages);
    expect(pages.idlePages).toBeGreaterThan(numPages - 10);
    // A key of 34 code units, its node, and a place in two collections: 324 B; 472 with a map in every node.
    expect((settled - empty) / numPages).toBeLessThan(400);
    expect((fill(4 * numPages) - settled) / numPages).toBeLessThan(30);
  });

  it('do not go back into what others may share', () => {
    const pages = new KvPages({ numPages: 4, pagePositions: 4 });
    const sequence = pages.open(ids(6), 12)!;
    sequence.append(6);
    sequence.commit(ids(6));
    sequence.append(4);
    sequence.truncate(5);
    expect([sequence.length, pagesOf(sequence).length]).toEqual([5, 2]);
    expect(() => sequence.truncate(3)).toThrow(/cannot go back/);
    sequence.append(7);
    expect(pagesOf(sequence)).toHaveLength(3);
  });

  it('may be had ahead of the positions that need them, within what was set aside', () => {
    const pages = new KvPages({ numPages: 4, pagePositions: 4 });
    const sequence = pages.open(ids(6), 12)!;
    sequence.append(3);
    sequence.reach(9);
    expect([sequence.length, pagesOf(sequence).length, pages.usedPages]).toEqual([3, 3, 3]);
    sequence.append(1);
    sequence.reach(2);
    expect(pagesOf(sequence)).toHaveLength(3);
    sequence.truncate(3);
    expect([pagesOf(sequence).length, pages.usedPages]).toEqual([1, 3]);
    expect(() => sequence.reach(13)).toThrow(/opened for/);
    sequence.reach(12);
    sequence.close();
    expect(pages.usedPages).toBe(0);
  });
});

/** Records what each page holds, as the storage would. */
class Storage {
  readonly #values = new Map<number, number[]>();

  write(sequence: PagedSequence, position: number, id: number, perPage: number): void {
    const page = pagesOf(sequence)[Math.floor(position / perPage)]!;
    const values = this.#values.get(page) ?? [];
    values[position % perPage] = id;
    this.#values.set(page, values);
  }

  read(sequence: PagedSequence, perPage: number): number[] {
    return Array.from({ length: sequence.length }, (_, position) => {
      return this.#values.get(pagesOf(sequence)[Math.floor(position / perPage)]!)![position % perPage]!;
    });
  }
}

describe('many sequences that come, grow, go back and go', () => {
  it.each([1, 2, 3, 4, 5])('each finds its own tokens, and no page is lost (seed %i)', (seed) => {
    const rng = createRng(seed);
    const below = (n: number): number => Math.floor(rng() * n);
    const [numPages, perPage] = [24, 4];
    const pages = new KvPages({ numPages, pagePositions: perPage });
    const storage = new Storage();
    const live: { sequence: PagedSequence; ids: number[]; max: number; committed: number }[] = [];
    const grow = (entry: (typeof live)[number], count: number): void => {
      const from = entry.sequence.length;
      entry.sequence.append(count);
      for (let p = from; p < from + count; p++) {
        entry.ids[p] ??= below(3);
        storage.write(entry.sequence, p, entry.ids[p]!, perPage);
      }
    };
    let refused = 0;
    let reused = 0;
    for (let turn = 0; turn < 4000; turn++) {
      const entry = live[below(live.length)];
      if (live.length < 8 && rng() < 0.3) {
        const prompt = Array.from({ length: 1 + below(14) }, () => below(2));
        const max = prompt.length + below(10);
        const sequence = pages.open(prompt, max);
        if (!sequence) {
          refused++;
          continue;
        }
        reused += sequence.length;
        const opened = { sequence, ids: prompt, max, committed: sequence.length };
        live.push(opened);
        grow(opened, prompt.length - sequence.length);
      } else if (entry && rng() < 0.2) {
        entry.sequence.close();
        live.splice(live.indexOf(entry), 1);
      } else if (entry && rng() < 0.5) {
        const length = entry.committed + below(entry.sequence.length - entry.committed + 1);
        entry.sequence.truncate(length);
        entry.ids.length = length;
      } else if (entry && entry.sequence.length < entry.max) {
        grow(entry, 1 + below(entry.max - entry.sequence.length));
        if (rng() < 0.7) {
          entry.sequence.commit(entry.ids);
          entry.committed = entry.sequence.length;
        }
      }
      for (const { sequence, ids: expected } of live) expect(storage.read(sequence, perPage)).toEqual(expected);
      // Reserved pages may include idle cached ones.
      expect(Math.max(pages.usedPages, pages.heldPages + pages.idlePages)).toBeLessThanOrEqual(numPages);
    }
    expect([refused, reused].every((count) => count > 20)).toBe(true);
    for (const { sequence } of live) sequence.close();
    expect([pages.heldPages, pages.usedPages]).toEqual([0, 0]);
  });
});

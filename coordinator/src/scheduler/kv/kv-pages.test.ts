import { createRng, type KvPaging } from '@shoal/model';
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

  it('are reserved for more positions while there is room', () => {
    const pages = new KvPages({ numPages: 4, pagePositions: 8 });
    const [sequence, other] = [pages.open(ids(10), 10)!, pages.open(ids(10, 1), 8)!];
    expect(pages.usedPages).toBe(3);
    expect(sequence.extend(24)).toBe(true);
    expect([sequence.extend(25), other.extend(9), pages.usedPages]).toEqual([false, false, 4]);
    sequence.append(24);
    expect(() => sequence.append(1)).toThrow(/opened for/);
    sequence.close();
    expect([other.extend(32), pages.usedPages]).toEqual([true, 4]);
    other.close();
    expect([pages.usedPages, pages.heldPages]).toEqual([0, 0]);
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

  it('of two scopes start with what is known in both, or not at all', () => {
    const pages = new KvPages({ numPages: 8, pagePositions: 4 });
    const learn = (length: number, scope: string): void => {
      const sequence = pages.open(ids(length), length, scope)!;
      sequence.append(length - sequence.length);
      sequence.commit(ids(length));
      sequence.close();
    };
    learn(12, 'one');
    learn(8, 'other');
    const both = pages.openTogether(ids(12), 12, ['one', 'other'])!;
    expect(both.map(({ length }) => length)).toEqual([8, 8]);
    expect([pages.reusedPositions, pages.openedPositions]).toEqual([8, 32]);
    const used = pages.usedPages;
    expect(pages.openTogether(ids(3, 1), 12, ['one', 'other'])).toBeUndefined();
    expect(pages.usedPages).toBe(used);
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
    expect([pages.mostPositions, pages.mostPositionsOf(2)]).toEqual([16, 8]);
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
    // A key of 34 code units, its node, and a place in two collections: 351 B.
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

const WINDOWS = { layersPerPage: 1, fullTables: 1, windowTables: 2, reach: 7 };

describe('pages of windows', () => {
  it('are given back as the windows pass, and counted by what they hold at a time', () => {
    const pages = new KvPages({ numPages: 64, pagePositions: 4, paging: WINDOWS, maxRows: 8 });
    const sequence = pages.open(ids(100), 200)!;
    // 50 blocks of one page; and of two, two in the window and three with a pass's rows.
    expect(pages.usedPages).toBe(50 + 2 * 5);
    for (let length = 8; length <= 96; length += 8) {
      sequence.append(8);
      sequence.commit(ids(length));
    }
    expect(sequence.tables.map(({ first, pages: { length } }) => [first, length])).toEqual([
      [0, 24],
      [22, 2],
      [22, 2],
    ]);
    expect([pages.heldPages, pages.usedPages]).toEqual([24 + 2 * 2, 60]);
    sequence.append(8);
    expect(() => sequence.append(9)).toThrow(/before a commit/);
    // What drafts may need again is still there.
    sequence.truncate(96);
    sequence.append(8);
    sequence.close();
    expect([pages.heldPages, pages.usedPages]).toEqual([0, 0]);
  });

  it('bound how long a sequence may be', () => {
    const of = (numPages: number, fullTables = 1): number =>
      new KvPages({ numPages, pagePositions: 4, paging: { ...WINDOWS, fullTables }, maxRows: 8 }).mostPositions;
    expect([of(14), of(15), of(16), of(100)]).toEqual([16, 20, 24, 360]);
    // Without full tables, a sequence that has room for its windows may be of any length.
    expect([of(9, 0), of(10, 0), of(12, 0)]).toEqual([16, Number.POSITIVE_INFINITY, Number.POSITIVE_INFINITY]);
    const pages = new KvPages({ numPages: 100, pagePositions: 4, paging: WINDOWS, maxRows: 8 });
    expect([pages.mostPositions, pages.mostPositionsOf(2)]).toEqual([360, 160]);
    expect([pages.open(ids(9), 361), pages.open(ids(9), 360)?.length]).toEqual([undefined, 0]);
  });

  it('are kept where a sequence has ended or begun, for others that go on there', () => {
    const pages = new KvPages({ numPages: 60, pagePositions: 4, paging: WINDOWS, maxRows: 8 });
    const run = (tokens: readonly number[]): number => {
      const sequence = pages.open(tokens, tokens.length)!;
      const reused = sequence.length;
      while (sequence.length < tokens.length) {
        sequence.append(Math.min(8, tokens.length - sequence.length));
        sequence.commit(tokens.slice(0, sequence.length));
      }
      sequence.close();
      return reused;
    };
    run(ids(41));
    // Other texts take the room of the windows that were passed, but not of those before the end.
    for (const seed of [1, 2]) run(ids(41, seed));
    expect(run([...ids(41), 5, 5, 5, 5])).toBe(40);
    // The windows in between are gone: a beginning that is shared only so far is computed again.
    expect(run([...ids(30), 9, 9, 9, 9])).toBe(0);
  });
});

/** Records what each page holds, as the storage would. */
class Storage {
  readonly #values = new Map<number, number[]>();

  write({ tables }: PagedSequence, position: number, id: number, perPage: number): void {
    for (const { first, pages } of tables) {
      const page = pages[Math.floor(position / perPage) - first]!;
      const values = this.#values.get(page) ?? [];
      values[position % perPage] = id;
      this.#values.set(page, values);
    }
  }

  /** What a table holds from position `from` on. */
  read({ tables, length }: PagedSequence, perPage: number, table = 0, from = 0): number[] {
    const { first, pages } = tables[table]!;
    return Array.from({ length: length - from }, (_, i) => {
      return this.#values.get(pages[Math.floor((from + i) / perPage) - first]!)![(from + i) % perPage]!;
    });
  }
}

describe('many sequences that come, grow, go back and go', () => {
  const tablesOf = (fullTables: number, windowTables: number, reach: number): KvPaging => {
    return { layersPerPage: 1, fullTables, windowTables, reach };
  };

  it.each([
    [1, 24, undefined],
    [2, 24, undefined],
    [3, 24, undefined],
    [4, 60, tablesOf(1, 1, 5)],
    [5, 90, tablesOf(2, 3, 4)],
    [6, 30, tablesOf(0, 1, 6)],
    [7, 50, tablesOf(1, 1, 0)],
  ])('each finds its own tokens, and no page is lost (seed %i, %i pages, %o)', (seed, numPages, paging) => {
    const rng = createRng(seed);
    const below = (n: number): number => Math.floor(rng() * n);
    const perPage = 4;
    const maxRows = 14;
    const pages = new KvPages({ numPages, pagePositions: perPage, ...(paging && { paging, maxRows }) });
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
    for (let turn = 0; turn < 2500; turn++) {
      const entry = live[below(live.length)];
      if (live.length < 8 && rng() < 0.3) {
        const prompt = Array.from({ length: 1 + below(14) }, () => below(2));
        const max = prompt.length + below(10);
        const opened = pages.openTogether(prompt, max, rng() < 0.3 ? ['', 'first pass'] : ['']);
        if (!opened) {
          refused++;
          continue;
        }
        reused += opened[0]!.length;
        expect(new Set(opened.map(({ length }) => length)).size).toBe(1);
        for (const sequence of opened) {
          const own = { sequence, ids: [...prompt], max, committed: sequence.length };
          live.push(own);
          grow(own, prompt.length - sequence.length);
        }
      } else if (entry && rng() < 0.2) {
        entry.sequence.close();
        live.splice(live.indexOf(entry), 1);
      } else if (entry && rng() < 0.5) {
        const length = entry.committed + below(entry.sequence.length - entry.committed + 1);
        entry.sequence.truncate(length);
        entry.ids.length = length;
      } else if (entry && entry.sequence.length < entry.max) {
        const most = Math.min(entry.max, entry.committed + maxRows) - entry.sequence.length;
        if (most > 0) grow(entry, 1 + below(most));
        if (rng() < 0.7) {
          entry.sequence.commit(entry.ids);
          entry.committed = entry.sequence.length;
        }
      }
      for (const { sequence, ids: expected, committed } of live) {
        for (const table of sequence.tables.keys()) {
          const isWindow = table >= (paging?.fullTables ?? 1);
          const from = isWindow ? Math.max(0, Math.floor(committed / perPage) * perPage - paging!.reach) : 0;
          expect(storage.read(sequence, perPage, table, from)).toEqual(expected.slice(from));
        }
      }
      // Reserved pages may include idle cached ones.
      expect(Math.max(pages.usedPages, pages.heldPages + pages.idlePages)).toBeLessThanOrEqual(numPages);
    }
    expect([refused, reused].every((count) => count > 20)).toBe(true);
    for (const { sequence } of live) sequence.close();
    expect([pages.heldPages, pages.usedPages]).toEqual([0, 0]);
  });
});

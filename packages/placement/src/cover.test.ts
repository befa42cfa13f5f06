import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type CandidateExpectation, coverRows, type CoverCandidates } from './cover.ts';
import { coverMasks } from './mask-cover.ts';

/** Candidates by what each holds. */
function candidates(held: readonly (readonly number[])[], more: Partial<CoverCandidates> = {}): CoverCandidates {
  return {
    holders: (expert) => held.flatMap((experts, i) => (experts.includes(expert) ? [i] : [])),
    usualMs: () => 20,
    ...more,
  };
}

const known = (fixedMs: number, perAssignmentMs: number): CandidateExpectation => ({
  standing: 'known',
  fixedMs,
  perAssignmentMs,
});

const bits = (mask: number): number => mask.toString(2).replaceAll('0', '').length;

describe('coverRows', () => {
  it('asks one peer where one holds everything', () => {
    const chosen = coverRows([1, 2, 3, 1], [0, 0, 0, 1], candidates([[1, 2], [1, 2, 3], [3]]));
    expect([...chosen]).toEqual([1, 1, 1, 1]);
  });

  it('finds the fewest where taking the largest first would not', () => {
    // Greedy takes candidate 0 (four of six) and then needs both others as well.
    const held = [
      [1, 2, 4, 5],
      [1, 2, 3],
      [4, 5, 6],
    ];
    const chosen = coverRows([1, 2, 3, 4, 5, 6], [0, 0, 0, 0, 0, 0], candidates(held));
    expect([...chosen]).toEqual([1, 1, 1, 2, 2, 2]);
  });

  it('prefers the faster of two ways with as few peers, and fewer peers to faster ones', () => {
    const usualMs = (i: number): number => [100, 20, 20][i]!;
    expect([...coverRows([7, 7], [0, 1], candidates([[7], [7]], { usualMs }))]).toEqual([1, 1]);
    expect([...coverRows([7, 8], [0, 0], candidates([[7, 8], [7], [8]], { usualMs }))]).toEqual([0, 0]);
  });

  it('asks a peer that fails only where there is no other', () => {
    const expected = (i: number) => ({ ...known(500, 0), ...(i === 0 && { standing: 'avoid' as const }) });
    expect([...coverRows([7, 8], [0, 1], candidates([[7, 8], [7]], { expected }))]).toEqual([1, 0]);
  });

  it('takes turns among equals, and asks one peer of a batch rather than two', () => {
    const preference = (turn: number) => (i: number) => (i + turn) % 2;
    const both = [
      [1, 2, 3],
      [1, 2, 3],
    ];
    expect([...coverRows([1, 2], [0, 1], candidates(both, { preference: preference(0) }))]).toEqual([0, 0]);
    expect([...coverRows([1, 2], [0, 1], candidates(both, { preference: preference(1) }))]).toEqual([1, 1]);
    // Row 0 can only go to candidate 1, so row 1 goes there too.
    expect([...coverRows([9, 1], [0, 1], candidates([[1], [1, 9]]))]).toEqual([1, 1]);
  });

  describe('with a batch of many rows', () => {
    /** Rows of two experts each, 7 and 8, that these candidates hold: how many rows each is given. */
    const shares = (numRows: number, expectations: readonly CandidateExpectation[]): number[] => {
      const experts = Array.from({ length: 2 * numRows }, (_, a) => 7 + (a % 2));
      const rows = experts.map((_, a) => a >> 1);
      const held = expectations.map(() => [7, 8]);
      const chosen = coverRows(experts, rows, candidates(held, { expected: (i) => expectations[i]! }));
      return expectations.map((_, i) => chosen.filter((candidate) => candidate === i).length / 2);
    };

    it('shares it between equals, so that each is done early', () => {
      expect(shares(64, [known(20, 0.25), known(20, 0.25)])).toEqual([32, 32]);
    });

    it('leaves few rows together: a frame more would save next to nothing', () => {
      expect(shares(4, [known(20, 0.1), known(20, 0.1)])).toEqual([4, 0]);
    });

    it('gives each so much that all are done at about the same time', () => {
      const expectations = [known(20, 1), known(20, 0.5), known(40, 0.25)];
      const given = shares(64, expectations);
      expect(given.reduce((sum, rows) => sum + rows, 0)).toBe(64);
      const doneMs = expectations.map(({ fixedMs, perAssignmentMs }, i) => fixedMs + perAssignmentMs * 2 * given[i]!);
      expect(Math.max(...doneMs) - Math.min(...doneMs)).toBeLessThanOrEqual(2);
    });

    it('asks nobody more who would be late even with a single row', () => {
      expect(shares(64, [known(20, 0.1), known(100, 0.1)])).toEqual([64, 0]);
    });

    it('shares it evenly between strangers, and tries one of them with no more than a row where others are known', () => {
      const stranger: CandidateExpectation = { standing: 'try', fixedMs: 0, perAssignmentMs: 0 };
      expect(shares(9, [stranger, stranger, stranger])).toEqual([3, 3, 3]);
      expect(shares(9, [known(20, 0.1), stranger])).toEqual([8, 1]);
    });

    it('gives one that failed nothing, unless all have', () => {
      const failed: CandidateExpectation = { standing: 'avoid', fixedMs: 5, perAssignmentMs: 0 };
      expect(shares(9, [known(20, 0.1), failed])).toEqual([9, 0]);
      expect(shares(4, [failed, failed])).toEqual([4, 0]);
    });
  });

  it('leaves what nobody holds to the caller', () => {
    expect([...coverRows([4, 9], [0, 0], candidates([[4]]))]).toEqual([0, -1]);
    expect([...coverRows([4], [0], candidates([]))]).toEqual([-1]);
    expect([...coverRows([], [], candidates([[4]]))]).toEqual([]);
  });

  it('groups a row in the same way whatever else is in the batch, whosever turn it is, and in whatever order its experts come', () => {
    const expert = fc.integer({ min: 0, max: 11 });
    const row = fc.uniqueArray(expert, { minLength: 4, maxLength: 4 });
    fc.assert(
      fc.property(
        fc.array(fc.uniqueArray(expert, { maxLength: 8 }), { minLength: 1, maxLength: 6 }),
        row,
        fc.array(row, { maxLength: 4 }),
        fc.integer({ min: 0, max: 5 }),
        (held, own, others, turn) => {
          const partition = (chosen: Int32Array, experts: readonly number[]): string => {
            const parts = new Map<number, number[]>();
            for (const [i, e] of experts.entries()) parts.set(chosen[i]!, [...(parts.get(chosen[i]!) ?? []), e].sort());
            return [...parts.values()].map(String).sort().join('|');
          };
          const alone = coverRows(own, [0, 0, 0, 0], candidates(held));
          const reversed = own.toReversed();
          const experts = [...others.flat(), ...reversed];
          const rows = experts.map((_, i) => Math.floor(i / 4));
          const preference = (i: number): number => (i + turn) % held.length;
          const expected = (i: number): CandidateExpectation => known(20 + 3 * ((i + turn) % 4), 0.5 * (i % 3));
          const together = coverRows(experts, rows, candidates(held, { preference, expected }));
          expect(partition(together.slice(-4), reversed)).toBe(partition(alone, own));
        },
      ),
    );
  });
});

describe('coverMasks', () => {
  it('is as small as trying all combinations finds', () => {
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 1, max: 255 }), { minLength: 1, maxLength: 8 }), (masks) => {
        const sets = masks.map((mask) => ({ mask, cost: 1 }));
        const all = masks.reduce((union, mask) => union | mask, 0);
        let fewest = masks.length;
        for (let choice = 1; choice < 1 << masks.length; choice++) {
          const union = masks.reduce((sum, mask, i) => (choice & (1 << i) ? sum | mask : sum), 0);
          if (union === all) fewest = Math.min(fewest, bits(choice));
        }
        const cover = coverMasks(sets);
        expect(cover.reduce((union, { mask }) => union | mask, 0)).toBe(all);
        expect(cover).toHaveLength(fewest);
      }),
    );
  });

  it('covers more elements than it considers exactly within greedy cover’s own bound', () => {
    fc.assert(
      fc.property(
        fc.array(fc.integer({ min: 0, max: 2 ** 16 - 1 }), { minLength: 4, maxLength: 10 }),
        fc.integer({ min: 1, max: 3 }),
        (masks, planted) => {
          // A cover of known size, hidden among others.
          const slices = Array.from({ length: planted }, (_, i) =>
            Array.from({ length: 16 }, (_, bit) => bit).reduce(
              (m, bit) => (bit % planted === i ? m | (1 << bit) : m),
              0,
            ),
          );
          const cover = coverMasks([...masks, ...slices].map((mask) => ({ mask, cost: 1 })));
          expect(cover.reduce((union, { mask }) => union | mask, 0)).toBe(2 ** 16 - 1);
          // Chvátal 1979: at most H(16) = 3.38 times the fewest.
          expect(cover.length).toBeLessThanOrEqual(planted === 1 ? 1 : 3.38 * planted);
        },
      ),
    );
  });
});

import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { coverRows, type CoverCandidates } from './cover.ts';
import { coverMasks } from './mask-cover.ts';

/** Candidates by what each holds. */
function candidates(held: readonly (readonly number[])[], more: Partial<CoverCandidates> = {}): CoverCandidates {
  return {
    holders: (expert) => held.flatMap((experts, i) => (experts.includes(expert) ? [i] : [])),
    usualMs: () => 20,
    ...more,
  };
}

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
    const expectedMs = (i: number): number => (i === 0 ? Number.POSITIVE_INFINITY : 500);
    expect([...coverRows([7, 8], [0, 1], candidates([[7, 8], [7]], { expectedMs }))]).toEqual([1, 0]);
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
          const together = coverRows(experts, rows, candidates(held, { preference }));
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

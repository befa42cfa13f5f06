import { describe, expect, it } from 'vitest';
import { openGate } from './index.ts';

const layer = { layer: 0, numExperts: 3 };
/** Three rows that prefer expert 0, then 1; the last is the surest. */
const logits = Float64Array.of(2, 1, 0, 2, 1, 0, 4, 1, 0);

describe('gate top-2-capacity', () => {
  it('counts an expert’s second choices after all its first ones', () => {
    // Expert 1 is the first choice of the last row only, and comes second for the others, which are before it.
    const rows = { numRows: 3, logits: Float64Array.of(2, 1, 0, 2, 1, 0, 0, 2, 1) };
    const { dropped } = openGate('top-2-capacity', { capacity: 2 }, layer)(rows);
    expect(dropped).toEqual([{ row: 1, expert: 1 }]);
  });

  it('gives the weight of a dropped choice to the other one, unless both were normalised before', () => {
    const rows = { numRows: 3, logits };
    const weightOf = (settings: object) => [...openGate('top-2-capacity', settings, layer)(rows).weights];
    expect(weightOf({ capacity: 1 })).toEqual([
      expect.closeTo(1 / (1 + Math.exp(-1)), 12),
      expect.closeTo(1 / (1 + Math.E), 12),
    ]);
    const prioritised = openGate('top-2-capacity', { capacity: 1, batchPrioritizedRouting: true }, layer)(rows);
    expect([...prioritised.rowEnd]).toEqual([0, 0, 2]);
    expect(openGate('top-2-capacity', {}, layer)(rows).dropped).toEqual([
      { row: 2, expert: 0 },
      { row: 2, expert: 1 },
    ]);
  });

  it.each([
    [{ capacity: 0 }, layer, 'capacity is 0'],
    [{ capacityTokenFraction: Number.NaN }, layer, 'capacityTokenFraction is NaN'],
    [{}, { layer: 0, numExperts: 1 }, 'k is 2: there are only 1 experts'],
  ])('refuses %j by name', (settings, of, problem) => {
    expect(() => openGate('top-2-capacity', settings, of)).toThrow(`gate top-2-capacity: ${problem}`);
  });
});

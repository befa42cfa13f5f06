import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { openGate } from './index.ts';

describe('gate expert-choice', () => {
  it('gives every expert the same number of rows, and rows any number of experts', () => {
    const unit = fc.double({ min: -4, max: 4, noNaN: true });
    fc.assert(
      fc.property(
        fc.array(unit, { minLength: 48, maxLength: 48 }),
        fc.double({ min: 0.1, max: 6, noNaN: true }),
        (values, c) => {
          const open = openGate('expert-choice', { capacityFactor: c }, { layer: 0, numExperts: 4 });
          const { experts, rowEnd } = open({ numRows: 12, logits: Float64Array.from(values) });
          const takes = Math.min(12, Math.max(1, Math.floor((c * 12) / 4)));
          expect([0, 1, 2, 3].map((expert) => experts.filter((e) => e === expert).length)).toEqual(
            Array(4).fill(takes),
          );
          expect(rowEnd.at(-1)).toBe(4 * takes);
        },
      ),
    );
  });

  it('leaves a row without experts where others score higher for each', () => {
    // Rows of a softmax: the second spreads its share, and two experts take the other two.
    const logits = Float32Array.of(5, 0, 1, 1, 0, 5);
    const open = openGate('expert-choice', { capacityFactor: 0.5 }, { layer: 0, numExperts: 2 });
    expect([...open({ numRows: 3, logits }).rowEnd]).toEqual([1, 1, 2]);
  });

  it('prefers earlier rows among equal ones', () => {
    const open = openGate('expert-choice', { capacityFactor: 1 }, { layer: 0, numExperts: 2 });
    expect([...open({ numRows: 4, logits: new Float32Array(8) }).rowEnd]).toEqual([2, 4, 4, 4]);
  });

  it.each([0, -2, Number.NaN, Number.POSITIVE_INFINITY])(
    'refuses a capacity factor of %d by name',
    (capacityFactor) => {
      const open = () => openGate('expert-choice', { capacityFactor }, { layer: 0, numExperts: 2 });
      expect(open).toThrow(`gate expert-choice: capacityFactor is ${capacityFactor}`);
    },
  );
});

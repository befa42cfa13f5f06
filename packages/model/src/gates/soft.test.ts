import { describe, expect, it } from 'vitest';
import { openGate } from './index.ts';
import { mixIntoRows, mixIntoSlots } from './soft.ts';

const layer = { layer: 0, numExperts: 2 };

describe('gate soft', () => {
  it('makes shares that sum to 1, over rows for a slot and over slots for a row', () => {
    const logits = Float64Array.from({ length: 5 * 6 }, (_, i) => Math.sin(i * i) * 3);
    const { dispatch, combine, numSlots } = openGate('soft', { slotsPerExpert: 3 }, layer)({ numRows: 5, logits });
    expect(numSlots).toBe(6);
    const sum = (values: ArrayLike<number>) => Array.from(values).reduce((a, b) => a + b);
    for (let s = 0; s < 6; s++) expect(sum(dispatch.subarray(s * 5, s * 5 + 5))).toBeCloseTo(1, 12);
    for (let r = 0; r < 5; r++) expect(sum(combine.subarray(r * 6, r * 6 + 6))).toBeCloseTo(1, 12);
  });

  it('sends a row through whole where its logit is far above all others of its slot', () => {
    const logits = Float32Array.of(100, -100, -100, 100);
    const slots = openGate('soft', {}, layer)({ numRows: 2, logits });
    const x = Float32Array.of(1, 2, 3, 4);
    expect([...mixIntoSlots(slots, x)]).toEqual([1, 2, 3, 4]);
    expect([...mixIntoRows(slots, x)]).toEqual([1, 2, 3, 4]);
  });

  it('names a number of slots that is not one, and logits of other slots', () => {
    expect(() => openGate('soft', { slotsPerExpert: 0 }, layer)).toThrow('gate soft: slotsPerExpert is 0');
    const open = openGate('soft', { slotsPerExpert: 2 }, layer);
    expect(() => open({ numRows: 3, logits: new Float32Array(6) })).toThrow('logits is 6 values: 3 rows of 4 are 12');
  });
});

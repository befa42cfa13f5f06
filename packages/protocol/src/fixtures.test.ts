import { uniformRowEnd } from '@shoal/model';
import { describe, expect, it } from 'vitest';
import { checkFixtures, fixtureBytes, fixtures } from './testing/fixtures.ts';
import { cancelLayout } from './frames/cancel.ts';
import { combineLayouts } from './frames/combine.ts';
import { dispatchLayouts } from './frames/dispatch.ts';
import { refuseLayout } from './frames/refuse.ts';
import { decodeDispatch, encodeCombine, encodeDispatch, peekFrame } from './index.ts';

describe('frame fixtures', () => {
  it('decode to their fields, and encode to their bytes', () => {
    expect(checkFixtures()).toEqual([]);
  });

  it('have the header sizes of the layout', () => {
    const layouts = [
      dispatchLayouts.f16,
      dispatchLayouts.int8,
      combineLayouts.f16,
      combineLayouts.int8,
      dispatchLayouts.largeF16,
      dispatchLayouts.largeInt8,
      combineLayouts.largeF16,
      combineLayouts.largeInt8,
      refuseLayout,
      cancelLayout,
    ];
    expect(layouts.map((layout) => layout.headerBytes)).toEqual([12, 12, 8, 8, 12, 15, 8, 11, 5, 4]);
  });

  it.each([
    [1, 192, 4, 418, 392],
    [2, 192, 8, 12 + 768 + 44, 8 + 768],
    [1, 2048, 6, 4140, 4104],
  ])(
    'of a lap of %s rows of %s values and %s assignments have %s B and %s B',
    (numRows, hiddenSize, pairs, out, back) => {
      const rows = new Uint16Array(numRows * hiddenSize);
      const dispatch = encodeDispatch({
        lapId: 1,
        epoch: 1,
        layer: 1,
        numRows,
        hiddenSize,
        rows,
        weights: new Float32Array(pairs),
        rowEnd: Uint16Array.from(uniformRowEnd(numRows, pairs / numRows)),
        experts: new Uint16Array(pairs).fill(255),
      });
      const answer = {
        lapId: 1,
        numRows,
        hiddenSize,
        queueUs: 1,
        computeUs: 1e6,
        partial: new Float32Array(rows.length),
      };
      expect([dispatch.byteLength, encodeCombine(answer).byteLength]).toEqual([out, back]);
    },
  );

  it('tell type and lap from four bytes', () => {
    expect(peekFrame(fixtureBytes(fixtures.dispatch).subarray(0, 4))).toEqual({ type: 'dispatch', lapId: 7 });
    expect(peekFrame(fixtureBytes(fixtures.combine))).toEqual({ type: 'combine', lapId: 0xff_ffff });
    expect(peekFrame(fixtureBytes(fixtures.refuse))).toEqual({ type: 'refuse', lapId: 258 });
    expect(peekFrame(fixtureBytes(fixtures.cancel))).toEqual({ type: 'cancel', lapId: 258 });
  });

  it('are viewed in place where aligned, and copied once where not', () => {
    const bytes = fixtureBytes(fixtures.dispatch);
    const aligned = decodeDispatch(bytes, { hiddenSize: 3 });
    const { experts } = decodeDispatch(fixtureBytes(fixtures['dispatch-wide']), { hiddenSize: 2 });
    expect(experts.buffer.byteLength).toBe(fixtureBytes(fixtures['dispatch-wide']).byteLength);
    for (const array of [aligned.rows, aligned.weights, aligned.rowEnd]) {
      expect(array.buffer).toBe(bytes.buffer);
    }
    for (const shift of [1, 2, 3]) {
      const shifted = new Uint8Array(bytes.length + shift);
      shifted.set(bytes, shift);
      const copied = decodeDispatch(shifted.subarray(shift), { hiddenSize: 3 });
      expect(copied).toEqual(aligned);
      expect(copied.rows.buffer).not.toBe(shifted.buffer);
    }
  });
});

import { describe, expect, it } from 'vitest';
import { assignmentsOfCall, itemOfCall, NO_EXPERT, topkOfAssignments } from './dispatch.ts';

describe('assignmentsOfCall and topkOfAssignments', () => {
  const work = {
    numRows: 4,
    rowEnd: Uint32Array.of(2, 2, 3, 3),
    experts: Uint16Array.of(7, 3, 3),
    weights: Float32Array.of(0.5, 0.25, 1),
  };
  const topk = {
    topkIdx: Int32Array.of(7, 3, NO_EXPERT, NO_EXPERT, 3, NO_EXPERT, NO_EXPERT, NO_EXPERT),
    topkWeights: Float32Array.of(0.5, 0.25, 0, 0, 1, 0, 0, 0),
  };

  it('turn each into the other', () => {
    expect(topkOfAssignments(work)).toEqual(topk);
    expect(assignmentsOfCall({ numRows: 4, ...topk })).toEqual(work);
    const call = { layer: 2, numRows: 4, x: new Float32Array(8).fill(1), ...topk };
    expect(itemOfCall(call)).toMatchObject({ layer: 2, numRows: 4, rowEnd: Uint16Array.of(2, 2, 3, 3) });
  });

  it('know rows that have no experts at all', () => {
    const none = { numRows: 2, rowEnd: new Uint32Array(2), experts: new Uint16Array(), weights: new Float32Array() };
    const padded = topkOfAssignments(none);
    expect(padded).toEqual({ topkIdx: new Int32Array(), topkWeights: new Float32Array() });
    expect(assignmentsOfCall({ numRows: 2, ...padded })).toEqual(none);
  });
});

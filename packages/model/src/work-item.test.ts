import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  type AssignedRow,
  copyWorkItem,
  pickAssignments,
  rowRange,
  rowStart,
  sliceRows,
  uniformWorkItem,
  type WorkItem,
  workItemOfRows,
} from './work-item.ts';

const HIDDEN = 2;
const assignedRows = fc.array(
  fc.tuple(fc.nat(0xffff), fc.array(fc.nat(7), { maxLength: 4 })).map(([mark, experts]) => ({
    row: Uint16Array.of(mark, 1),
    experts,
    weights: experts.map((expert) => expert / 2),
  })),
  { minLength: 1, maxLength: 8 },
);

const rowsOf = (item: WorkItem): AssignedRow[] =>
  Array.from({ length: item.numRows }, (_, row) => {
    const [from, to] = rowRange(item, row);
    return {
      row: item.rows.slice(row * HIDDEN, (row + 1) * HIDDEN),
      experts: [...item.experts.subarray(from, to)],
      weights: [...item.weights.subarray(from, to)],
    };
  });

describe('workItemOfRows', () => {
  it('gives each row the assignments that it came with, and rowStart counts them all behind the last row', () => {
    fc.assert(
      fc.property(assignedRows, (rows) => {
        const item = workItemOfRows(3, rows);
        expect(item).toMatchObject({ layer: 3, numRows: rows.length });
        expect(rowsOf(item)).toEqual(rows);
        expect(rowStart(item, item.numRows)).toBe(item.experts.length);
      }),
    );
  });
});

describe('uniformWorkItem', () => {
  const fields = { layer: 1, weights: Float32Array.of(1, 2, 3, 4), experts: Uint16Array.of(5, 6, 7, 8) };

  it('shares the assignments out evenly', () => {
    const item = uniformWorkItem({ ...fields, numRows: 2, rows: new Uint16Array(4) });
    expect([...item.rowEnd]).toEqual([2, 4]);
    expect(item.experts).toBe(fields.experts);
  });

  it('takes no rows at all', () => {
    const none = { layer: 1, numRows: 0, rows: new Uint16Array(0), experts: new Uint16Array(0) };
    expect(uniformWorkItem({ ...none, weights: new Float32Array(0) }).rowEnd).toHaveLength(0);
  });
});

describe('sliceRows', () => {
  it('gives the same rows as an item made of them alone, on the same buffers', () => {
    fc.assert(
      fc.property(assignedRows, fc.nat(), fc.nat(), (rows, a, b) => {
        const [first, end] = [a % rows.length, b % (rows.length + 1)].sort((x, y) => x - y) as [number, number];
        const item = workItemOfRows(3, rows);
        const slice = sliceRows(item, first, end);
        expect(rowsOf(slice)).toEqual(rows.slice(first, end));
        expect(slice.rows.buffer).toBe(item.rows.buffer);
      }),
    );
  });
});

describe('pickAssignments', () => {
  it('keeps the picked assignments and drops rows that have none of them', () => {
    fc.assert(
      fc.property(assignedRows, fc.func(fc.boolean()), (rows, wanted) => {
        const item = workItemOfRows(3, rows);
        const assignments = [...item.experts.keys()].filter((a) => wanted(a));
        const expected = rows.map(({ row }, i) => {
          const [from, to] = rowRange(item, i);
          const mine = assignments.filter((a) => a >= from && a < to);
          return { row, experts: mine.map((a) => item.experts[a]), weights: mine.map((a) => item.weights[a]) };
        });
        const { item: part, picked } = pickAssignments(item, assignments);
        expect(picked).toEqual([...expected.keys()].filter((i) => expected[i]!.experts.length > 0));
        expect(rowsOf(part)).toEqual(picked.map((i) => expected[i]));
      }),
    );
  });

  it('does not copy rows where all of them are picked', () => {
    const item = workItemOfRows(0, [{ row: Uint16Array.of(1, 2), experts: [3, 4], weights: [1, 1] }]);
    expect(pickAssignments(item, [1]).item.rows).toBe(item.rows);
  });
});

describe('copyWorkItem', () => {
  it('shares no buffer with the item', () => {
    const item = workItemOfRows(0, [{ row: Uint16Array.of(1, 2), experts: [3], weights: [1] }]);
    const copy = copyWorkItem(sliceRows(item, 0));
    expect(copy).toEqual(item);
    for (const name of ['rows', 'rowEnd', 'experts', 'weights'] as const) {
      expect(copy[name].buffer).not.toBe(item[name].buffer);
      expect(copy[name].byteLength).toBe(copy[name].buffer.byteLength);
    }
  });
});

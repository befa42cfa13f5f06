import * as fc from 'fast-check';
import { rowStart, type WorkItem, workItemOfRows } from '@shoal/model';
import { expect, it } from 'vitest';
import { lapItems, maxItemsBytes, partOffset, WIDE_TILE_ROWS } from './lap-items.ts';

const SHAPE = { hiddenSize: 40, moeIntermediateSize: 24 };
const SLABS = ['first', 'second', 'third'].map((label) => ({ label }) as GPUBuffer);
/** Three experts to a slab. */
const placeOf = (expert: number) => ({ slab: SLABS[Math.floor(expert / 3)]!, slot: expert % 3 });

const rowsOfExperts = fc.array(fc.array(fc.integer({ min: 0, max: 8 }), { maxLength: 5 }), {
  minLength: 1,
  maxLength: 30,
});

function lapOf(assignments: readonly (readonly number[])[]): WorkItem {
  const row = new Uint16Array(0);
  let next = 0;
  return workItemOfRows(
    0,
    assignments.map((experts) => ({ row, experts, weights: experts.map(() => next++ + 0.5) })),
  );
}

it('puts each assignment in one tile of its expert and slab, and leads each row to its places in its own order', () => {
  fc.assert(
    fc.property(rowsOfExperts, fc.nat(), (assignments, cut) => {
      const lap = lapOf(assignments);
      // Any run of rows, as a lap that is cut into pieces gives it.
      const firstRow = cut % lap.numRows;
      const firstAssignment = rowStart(lap, firstRow);
      const chunk = { firstRow, endRow: lap.numRows, firstAssignment, endAssignment: lap.experts.length };
      const numAssignments = chunk.endAssignment - firstAssignment;
      const numRows = lap.numRows - firstRow;
      const items = lapItems(lap, chunk, SHAPE, placeOf);
      expect(items.words.byteLength).toBeLessThanOrEqual(maxItemsBytes({ numRows, numAssignments }, SLABS.length));
      const item = (index: number): number[] => [...items.words.subarray(index * 4, index * 4 + 4)];
      const part = (which: number): number[] => item(partOffset(which) / 16);
      const floats = new Float32Array(items.words.buffer);

      const expertAt = new Map<number, { slab: GPUBuffer; slot: number }>();
      for (const { slab, isWide, part: which, numTiles } of items.dispatches) {
        const [from, to] = part(which) as [number, number];
        expect(to - from).toBe(numTiles);
        for (let tile = from; tile < to; tile++) {
          const [slot, first, count] = item(tile) as [number, number, number];
          expect(count).toBeGreaterThanOrEqual(1);
          expect(count).toBeLessThanOrEqual(isWide ? WIDE_TILE_ROWS : 1);
          for (let place = first; place < first + count; place++) {
            expect(expertAt.has(place)).toBe(false);
            expertAt.set(place, { slab, slot });
          }
        }
      }
      expect(expertAt.size).toBe(numAssignments);

      const [, rowsEnd, assignmentsAt, rowsAt] = part(items.combinePart) as [number, number, number, number];
      expect(rowsEnd).toBe(numRows);
      for (let row = 0; row < numRows; row++) {
        const [start, end] = item(rowsAt + row) as [number, number];
        const experts = assignments[firstRow + row]!;
        expect(end - start).toBe(experts.length);
        for (const [i, expert] of experts.entries()) {
          const at = assignmentsAt + start + i;
          const place = item(at)[1]!;
          expect(expertAt.get(place)).toEqual(placeOf(expert));
          expect(item(assignmentsAt + place)[0]).toBe(row);
          expect(floats[at * 4 + 2]).toBe(lap.weights[firstAssignment + start + i]);
        }
      }
    }),
  );
});

import { expect, it } from 'vitest';
import { f32ToF16 } from '../f16.ts';
import { RowScratch } from '../row-scratch.ts';
import type { Part, PartReader } from './encoding.ts';
import { transposed } from './transposed.ts';

const [ROWS, COLS] = [23, 37];
const value = (row: number, col: number): number => row * 64 + col;

/** The stored matrix [COLS, ROWS] in F16, behind something else in its file. */
function stored(change?: (halves: Uint16Array) => void): { part: Part; reader: PartReader; readBytes: () => number } {
  const halves = new Uint16Array(ROWS * COLS).map((_, i) => f32ToF16(value(i % ROWS, Math.floor(i / ROWS))));
  change?.(halves);
  const bytes = new Uint8Array(halves.buffer);
  let readBytes = 0;
  const reader: PartReader = {
    bytes: async (_part, offset, target) => {
      readBytes += target.byteLength;
      target.set(bytes.subarray(offset, offset + target.byteLength));
    },
    floats: () => Promise.reject(new Error('not read so')),
  };
  const part: Part = { name: 'w', file: 'f', dtype: 'F16', shape: [COLS, ROWS], offset: 96, bytes: bytes.byteLength };
  return { part, reader, readBytes: () => readBytes };
}

it.each([1, 5, 8, 23, 100])('gives all rows from bands of %i, of which each byte is read once', async (bandRows) => {
  const { part, reader, readBytes } = stored();
  const encoding = transposed(part, ROWS, COLS, bandRows);
  const scratch = new RowScratch();
  for (let row = 0; row < ROWS; row += 4) {
    const count = Math.min(4, ROWS - row);
    const expected = Array.from({ length: count * COLS }, (_, i) => value(row + Math.floor(i / COLS), i % COLS));
    expect([...(await encoding.rows(reader, row, count, scratch))]).toEqual(expected);
  }
  expect(readBytes()).toBe(part.bytes);
});

it('names the place of a value that is not finite, in the stored matrix', async () => {
  const { part, reader } = stored((halves) => (halves[11 * ROWS + 17] = 0x7c00));
  const rows = transposed(part, ROWS, COLS, 8).rows(reader, 16, 4, new RowScratch());
  await expect(rows).rejects.toThrow(/the value at \[11, 17\] is Infinity/);
});

import type { RowScratch } from '../row-scratch.ts';
import { floatDtypes } from '../safetensors.ts';
import type { Encoding, PartFinder, PartReader, StoredMatrix } from './encoding.ts';
import { plainShape } from './stored-matrix.ts';

/** A tensor stored as numbers; undefined if it isn't. */
export function plain(matrix: StoredMatrix, finder: PartFinder): Encoding | undefined {
  const { name, rows, cols, isVector, transposed } = matrix;
  const dtype = finder.dtypeOf(name);
  if (dtype === undefined || !floatDtypes.includes(dtype)) return undefined;
  const part = finder.find({ name, dtypes: floatDtypes, shapes: [plainShape(matrix)] });
  if (!transposed || isVector) {
    return {
      isPlain: true,
      parts: [part],
      rows: (reader, first, count, scratch) => reader.floats(part, first * cols, count * cols, scratch),
    };
  }
  const readWhole = (reader: PartReader) => reader.floats(part, 0, rows * cols);
  return {
    isPlain: true,
    parts: [part],
    rows: async (reader, firstRow, numRows, scratch: RowScratch) => {
      const whole = await scratch.whole(`${part.name}@${part.offset}`, () => readWhole(reader));
      const out = scratch.values(numRows * cols);
      for (let c = 0; c < cols; c++) {
        for (let r = 0; r < numRows; r++) out[r * cols + c] = whole[c * rows + firstRow + r]!;
      }
      return out;
    },
  };
}

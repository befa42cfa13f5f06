import { floatDtypes } from '../safetensors.ts';
import type { Encoding, PartFinder, StoredMatrix } from './encoding.ts';
import { plainShape } from './stored-matrix.ts';
import { transposed as transposedPart } from './transposed.ts';

/** A tensor stored as numbers; undefined if it isn't. */
export function plain(matrix: StoredMatrix, finder: PartFinder): Encoding | undefined {
  const { name, rows, cols, isVector, transposed } = matrix;
  const dtype = finder.dtypeOf(name);
  if (dtype === undefined || !floatDtypes.includes(dtype)) return undefined;
  const part = finder.find({ name, dtypes: floatDtypes, shapes: [plainShape(matrix)] });
  if (transposed && !isVector) return transposedPart(part, rows, cols);
  return {
    isPlain: true,
    parts: [part],
    rows: (reader, first, count, scratch) => reader.floats(part, first * cols, count * cols, scratch),
  };
}

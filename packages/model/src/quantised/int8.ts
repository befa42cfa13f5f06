import { floatDtypes } from '../safetensors.ts';
import type { Encoding, Part, PartFinder, StoredMatrix } from './encoding.ts';
import { requireWholeGroups } from './integers.ts';
import type { WeightFormat } from './quantisation.ts';
import { requireFinite } from './scales.ts';

type Int8Format = Extract<WeightFormat, { kind: 'int8' }>;

/** compressed-tensors' "int-quantized": `weight` in I8, w = (code − zero point) × scale, of the tensor, the row or the group. */
export function int8(
  { scales: scope, symmetric }: Int8Format,
  matrix: StoredMatrix,
  finder: PartFinder,
): Encoding | undefined {
  const { name, rows, cols, isVector } = matrix;
  if (isVector || finder.dtypeOf(name) !== 'I8') return undefined;
  const groups = typeof scope === 'number' ? Math.ceil(cols / scope) : 1;
  const width = typeof scope === 'number' ? scope : cols;
  const shapes = scope === 'tensor' ? [[1], []] : [[rows, groups], ...(groups === 1 ? [[rows]] : [])];
  const find = (suffix: string, dtypes: readonly Part['dtype'][]): Part =>
    finder.find({ name: `${name}_${suffix}`, dtypes, shapes });
  const weight = finder.find({ name, dtypes: ['I8'], shapes: [[rows, cols]] });
  requireWholeGroups(weight, cols, width);
  const scale = find('scale', floatDtypes);
  const zero = symmetric ? null : find('zero_point', ['I8']);
  return {
    isPlain: false,
    parts: [weight, scale, ...(zero ? [zero] : [])],
    rows: async (reader, firstRow, numRows, scratch) => {
      const raw = scratch.raw(numRows * cols);
      await reader.bytes(weight, firstRow * cols, raw);
      const codes = new Int8Array(raw.buffer, raw.byteOffset, raw.length);
      const [first, count] = scope === 'tensor' ? [0, 1] : [firstRow * groups, numRows * groups];
      const scales = await reader.floats(scale, first, count);
      const zeros = new Int8Array(count);
      if (zero) await reader.bytes(zero, first, new Uint8Array(zeros.buffer));
      const values = scratch.values(numRows * cols);
      for (let i = 0; i < values.length; i++) {
        const row = Math.floor(i / cols);
        const at = scope === 'tensor' ? 0 : row * groups + Math.floor((i - row * cols) / width);
        values[i] = (codes[i]! - zeros[at]!) * scales[at]!;
      }
      return requireFinite(weight, values, firstRow * cols, [rows, cols]);
    },
  };
}

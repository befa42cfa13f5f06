import { floatDtypes } from '../safetensors.ts';
import {
  type Encoding,
  type Part,
  partError,
  type PartFinder,
  type PartReader,
  type StoredMatrix,
} from './encoding.ts';
import { e4m3Values } from './fp8-codes.ts';
import type { Fp8Block, WeightFormat } from './quantisation.ts';
import { magnitudeScales, requireFinite, tensorScale } from './scales.ts';

type Fp8Format = Extract<WeightFormat, { kind: 'fp8' }>;

/**
 * `weight` in float8_e4m3fn, and beside it `weight_scale` (compressed-tensors, modelopt, FBGEMM) or `weight_scale_inv`
 * (DeepSeek, transformers; a factor too, in spite of its name): w = code × scale.
 */
export function fp8({ scales }: Fp8Format, matrix: StoredMatrix, finder: PartFinder): Encoding | undefined {
  const { name, rows, cols, isVector, transposed } = matrix;
  if (finder.dtypeOf(name) !== 'F8_E4M3') return undefined;
  const weight = finder.find({ name, dtypes: ['F8_E4M3'], shapes: [[rows, cols]] });
  if (isVector || transposed) {
    throw partError(
      weight,
      'wrong-shape',
      `is FP8 [${weight.shape.join(', ')}]; only matrices [outputs, inputs] are read`,
    );
  }
  const scale = findScale(scales, matrix, finder);
  return {
    isPlain: false,
    parts: [weight, scale],
    rows: async (reader, firstRow, numRows, scratch) => {
      const codes = scratch.raw(numRows * cols);
      await reader.bytes(weight, firstRow * cols, codes);
      const factors = await readScales(reader, scale, scales, { firstRow, numRows, cols });
      const values = scratch.values(numRows * cols);
      for (let r = 0; r < numRows; r++) {
        const { at, width } = factors(firstRow + r);
        for (let c = 0; c < cols; c += width) {
          const factor = at(c);
          const end = Math.min(c + width, cols);
          for (let i = r * cols + c; i < r * cols + end; i++) values[i] = e4m3Values[codes[i]!]! * factor;
        }
      }
      return requireFinite(weight, values, firstRow * cols, [rows, cols]);
    },
  };
}

function findScale(scales: Fp8Format['scales'], { name, rows, cols }: StoredMatrix, finder: PartFinder): Part {
  const [inverse, factor] = [`${name}_scale_inv`, `${name}_scale`];
  const isFactor = finder.dtypeOf(inverse) === undefined && (finder.dtypeOf(factor) !== undefined || scales === 'row');
  return finder.find({
    name: isFactor ? factor : inverse,
    dtypes: [...floatDtypes, 'F8_E8M0'],
    shapes: scaleShapes(scales, rows, cols),
  });
}

function scaleShapes(scales: Fp8Format['scales'], rows: number, cols: number): number[][] {
  if (scales === 'tensor') return [[], [1], [1, 1]];
  if (scales === 'row') return [[rows, 1], [rows]];
  return [[Math.ceil(rows / scales[0]), Math.ceil(cols / scales[1])]];
}

/** The scales of a row: the one at a column, and for how many columns it holds. */
type RowScales = (row: number) => { at: (col: number) => number; width: number };

async function readScales(
  reader: PartReader,
  scale: Part,
  scales: Fp8Format['scales'],
  { firstRow, numRows, cols }: { firstRow: number; numRows: number; cols: number },
): Promise<RowScales> {
  if (scales === 'tensor') {
    const whole = await tensorScale(reader, scale);
    return () => ({ at: () => whole, width: cols });
  }
  const [blockRows, blockCols]: Fp8Block = scales === 'row' ? [1, cols] : scales;
  const perRow = Math.ceil(cols / blockCols);
  const first = Math.floor(firstRow / blockRows);
  const end = Math.floor((firstRow + numRows - 1) / blockRows) + 1;
  const values = await magnitudeScales(reader, scale, first * perRow, (end - first) * perRow);
  return (row) => {
    const start = (Math.floor(row / blockRows) - first) * perRow;
    return { at: (col) => values[start + col / blockCols]!, width: blockCols };
  };
}

import type { Encoding, PartFinder, StoredMatrix } from './encoding.ts';
import { decodeE2m1Row } from './e2m1.ts';
import type { WeightFormat } from './quantisation.ts';
import { magnitudeScales, requireFinite, tensorScale } from './scales.ts';

/** Columns that share a scale. */
export const NVFP4_BLOCK = 16;

/**
 * NVFP4: FP4 codes, an E4M3 scale for 16 columns, a float32 scale for the tensor. modelopt has `weight`, `weight_scale` and
 * `weight_scale_2`: w = code × (scale × scale_2). compressed-tensors has `weight_packed`, `weight_scale` and
 * `weight_global_scale`: w = code × (scale / global_scale). Both in float32.
 */
export function nvfp4(
  { globalScale }: Extract<WeightFormat, { kind: 'nvfp4' }>,
  matrix: StoredMatrix,
  finder: PartFinder,
): Encoding | undefined {
  const { name, rows, cols, isVector } = matrix;
  const divides = globalScale === 'divides';
  const codesName = divides ? `${name}_packed` : name;
  if (isVector || finder.dtypeOf(codesName) !== 'U8') return undefined;
  const [rowBytes, groups] = [Math.ceil(cols / 2), Math.ceil(cols / NVFP4_BLOCK)];
  const codesPart = finder.find({ name: codesName, dtypes: ['U8'], shapes: [[rows, rowBytes]] });
  const scale = finder.find({ name: `${name}_scale`, dtypes: ['F8_E4M3'], shapes: [[rows, groups]] });
  const second = divides ? `${name}_global_scale` : `${name}_scale_2`;
  const whole = finder.find({ name: second, dtypes: ['F32'], shapes: divides ? [[1], []] : [[], [1]] });
  return {
    isPlain: false,
    parts: [codesPart, scale, whole],
    rows: async (reader, firstRow, numRows, scratch) => {
      const codes = scratch.raw(numRows * rowBytes);
      await reader.bytes(codesPart, firstRow * rowBytes, codes);
      const factor = await tensorScale(reader, whole);
      const scales = await magnitudeScales(reader, scale, firstRow * groups, numRows * groups);
      for (let i = 0; i < scales.length; i++) scales[i] = divides ? scales[i]! / factor : scales[i]! * factor;
      const values = scratch.values(numRows * cols);
      for (let r = 0; r < numRows; r++) {
        const row = values.subarray(r * cols, (r + 1) * cols);
        decodeE2m1Row(codes, r * rowBytes, (block) => scales[r * groups + block]!, NVFP4_BLOCK, row);
      }
      return requireFinite(codesPart, values, firstRow * cols, [rows, cols]);
    },
  };
}

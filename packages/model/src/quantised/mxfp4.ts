import { placeOf } from '../finite.ts';
import { E8M0_NAN, e8m0Of, MXFP4_BLOCK, type Mxfp4Rows } from '../mxfp4.ts';
import {
  type Encoding,
  type Part,
  partError,
  type PartFinder,
  type PartReader,
  type StoredMatrix,
} from './encoding.ts';
import { decodeE2m1Row } from './e2m1.ts';
import type { WeightFormat } from './quantisation.ts';

/** 6 × 2^126 is more than a float32 holds. The code of NaN, 255, is beyond it. */
const MAX_SCALE = 252;

/**
 * MXFP4 (OCP Microscaling Formats 1.0): FP4 codes and a power of two for 32 columns. gpt-oss has `<name>_blocks`
 * [rows, blocks, 16] and `<name>_scales`, never transposed, though the plain form of the same tensors is; compressed-tensors has
 * `weight_packed` and `weight_scale`, modelopt `weight` and `weight_scale`.
 */
export function mxfp4(
  { stored }: Extract<WeightFormat, { kind: 'mxfp4' }>,
  matrix: StoredMatrix,
  finder: PartFinder,
): Encoding | undefined {
  const { name, rows, cols, isVector } = matrix;
  const blocks = Math.ceil(cols / MXFP4_BLOCK);
  const inBlocks = stored === 'blocks';
  const codesName = inBlocks ? `${name}_blocks` : stored === 'packed' ? `${name}_packed` : name;
  const isCodes = stored === 'weight' ? finder.dtypeOf(name) === 'U8' : finder.dtypeOf(codesName) !== undefined;
  if (isVector || !isCodes) return undefined;
  const shape = inBlocks ? [rows, blocks, MXFP4_BLOCK / 2] : [rows, Math.ceil(cols / 2)];
  const codes = finder.find({ name: codesName, dtypes: ['U8'], shapes: [shape] });
  const scalesName = inBlocks ? `${name}_scales` : `${name}_scale`;
  const scales = finder.find({ name: scalesName, dtypes: ['U8', 'F8_E8M0'], shapes: [[rows, blocks]] });
  const mxfp4Rows = async (reader: PartReader, firstRow: number, numRows: number): Promise<Mxfp4Rows> => ({
    codes: await readCodes(reader, codes, firstRow, numRows, cols),
    scales: await readScales(reader, scales, firstRow * blocks, numRows * blocks),
  });
  return {
    isPlain: false,
    parts: [codes, scales],
    mxfp4Rows,
    rows: async (reader, firstRow, numRows, scratch) => {
      const read = await mxfp4Rows(reader, firstRow, numRows);
      const values = scratch.values(numRows * cols);
      for (let r = 0; r < numRows; r++) {
        const scaleOf = (block: number): number => e8m0Of(read.scales[r * blocks + block]!);
        const row = values.subarray(r * cols, (r + 1) * cols);
        decodeE2m1Row(read.codes, r * Math.ceil(cols / 2), scaleOf, MXFP4_BLOCK, row);
      }
      return values;
    },
  };
}

/** [numRows, ⌈cols / 2⌉]; whole blocks are stored, of which the last may have fewer columns. */
async function readCodes(
  reader: PartReader,
  part: Part,
  firstRow: number,
  numRows: number,
  cols: number,
): Promise<Uint8Array> {
  const rowBytes = Math.ceil(cols / 2);
  const storedBytes = part.bytes / part.shape[0]!;
  const raw = new Uint8Array(numRows * storedBytes);
  await reader.bytes(part, firstRow * storedBytes, raw);
  if (storedBytes === rowBytes) return raw;
  for (let r = 1; r < numRows; r++) {
    raw.copyWithin(r * rowBytes, r * storedBytes, r * storedBytes + rowBytes);
  }
  return raw.subarray(0, numRows * rowBytes);
}

async function readScales(reader: PartReader, part: Part, first: number, count: number): Promise<Uint8Array> {
  const scales = new Uint8Array(count);
  await reader.bytes(part, first, scales);
  const bad = scales.findIndex((scale) => scale > MAX_SCALE);
  if (bad < 0) return scales;
  const meaning = scales[bad] === E8M0_NAN ? 'NaN' : `${e8m0Of(scales[bad]!)}, with which weights are infinite`;
  throw partError(
    part,
    'bad-scale',
    `the scale at ${placeOf(first + bad, part.shape)} is ${meaning}: download it again`,
  );
}

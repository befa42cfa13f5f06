import type { RowScratch } from '../row-scratch.ts';
import { floatDtypes } from '../safetensors.ts';
import {
  type Encoding,
  type Part,
  partError,
  type PartFinder,
  type PartReader,
  type StoredMatrix,
} from './encoding.ts';
import { int4RowsOf } from './int4-rows.ts';
import type { WeightFormat } from './quantisation.ts';
import { groupsInOrder, readGroups, readInts, requireWholeGroups } from './integers.ts';
import { requireFinite } from './scales.ts';

type PackedInt = Extract<WeightFormat, { kind: 'packed-int' }>;

/**
 * compressed-tensors' "pack-quantized" (as Kimi-K2-Thinking and -K2.5): integers plus 2^(bits − 1) in 32-bit words, the first
 * column lowest; w = (code − zero point) × scale, both of the column's group. Zero points are packed likewise, along the rows.
 */
export function packedInt(format: PackedInt, matrix: StoredMatrix, finder: PartFinder): Encoding | undefined {
  const { bits, groupSize, symmetric, reordered } = format;
  const { name, rows, cols, isVector } = matrix;
  if (isVector || finder.dtypeOf(`${name}_packed`) === undefined) return undefined;
  const groups = groupSize === null ? 1 : Math.ceil(cols / groupSize);
  const words = (count: number): number => Math.ceil((count * bits) / 32);
  const find = (suffix: string, dtypes: Part['dtype'][], ...shapes: number[][]) =>
    finder.find({ name: `${name}_${suffix}`, dtypes, shapes });
  const packed = find('packed', ['I32'], [rows, words(cols)]);
  requireWholeGroups(packed, cols, groupSize);
  const scale = find('scale', [...floatDtypes], [rows, groups], ...(groups === 1 ? [[rows]] : []));
  const shape = find('shape', ['I64', 'I32'], [2]);
  const zero = symmetric ? null : find('zero_point', ['I32'], [words(rows), groups]);
  const order = reordered ? find('g_idx', ['I32'], [cols]) : null;
  const read = async (reader: PartReader, firstRow: number, numRows: number, scratch: RowScratch): Promise<Rows> => {
    if (firstRow === 0) await checkShape(reader, shape, rows, cols);
    const codes = scratch.raw(numRows * words(cols) * 4);
    await reader.bytes(packed, firstRow * words(cols) * 4, codes);
    return {
      codes,
      rowBytes: words(cols) * 4,
      scales: await reader.floats(scale, firstRow * groups, numRows * groups),
      zeros: zero ? await readZeros(reader, zero, { bits, firstRow, numRows, groups }) : null,
      groupOf: order ? await readGroups(reader, order, groupSize) : groupsInOrder(cols, groupSize),
    };
  };
  return {
    isPlain: false,
    parts: [packed, scale, shape, ...(zero ? [zero] : []), ...(order ? [order] : [])],
    rows: async (reader, firstRow, numRows, scratch) => {
      const held = await read(reader, firstRow, numRows, scratch);
      const values = dequantise(held, scratch.values(numRows * cols), { bits, cols, groups });
      return requireFinite(packed, values, firstRow * cols, [rows, cols]);
    },
    ...(bits === 4 && {
      int4Rows: async (reader, firstRow, numRows, scratch) => {
        const { codes, rowBytes, scales, zeros, groupOf } = await read(reader, firstRow, numRows, scratch);
        if (zeros?.some((point) => point !== ZERO_4)) return undefined;
        return int4RowsOf(numRows, cols, groupOf, {
          code: (r, c) => ((codes[r * rowBytes + (c >> 1)]! >> ((c & 1) * 4)) & 15) - ZERO_4,
          scale: (r, group) => scales[r * groups + group]!,
        });
      },
    }),
  };
}

/** What is stored for a code of 0 in 4 bits. */
const ZERO_4 = 8;

interface Rows {
  codes: Uint8Array;
  rowBytes: number;
  /** [numRows, groups] */
  scales: Float32Array;
  /** [numRows, groups], as stored; null if they are 2^(bits − 1). */
  zeros: Uint8Array | null;
  /** [cols] */
  groupOf: Int32Array;
}

function dequantise(
  { codes, rowBytes, scales, zeros, groupOf }: Rows,
  out: Float32Array,
  { bits, cols, groups }: { bits: 4 | 8; cols: number; groups: number },
): Float32Array {
  const offset = 1 << (bits - 1);
  const numRows = out.length / cols;
  for (let r = 0; r < numRows; r++) {
    for (let c = 0; c < cols; c++) {
      const code = bits === 8 ? codes[r * rowBytes + c]! : (codes[r * rowBytes + (c >> 1)]! >> ((c & 1) * 4)) & 15;
      const group = r * groups + groupOf[c]!;
      out[r * cols + c] = (code - (zeros ? zeros[group]! : offset)) * scales[group]!;
    }
  }
  return out;
}

/** Zero points [numRows, groups], of which 32 / bits rows share a word. */
async function readZeros(
  reader: PartReader,
  part: Part,
  { bits, firstRow, numRows, groups }: { bits: 4 | 8; firstRow: number; numRows: number; groups: number },
): Promise<Uint8Array> {
  const perWord = 32 / bits;
  const firstWord = Math.floor(firstRow / perWord);
  const endWord = Math.ceil((firstRow + numRows) / perWord);
  const words = await readInts(reader, part, firstWord * groups, (endWord - firstWord) * groups);
  const zeros = new Uint8Array(numRows * groups);
  for (let i = 0; i < zeros.length; i++) {
    const row = firstRow + Math.floor(i / groups);
    const word = words[(Math.floor(row / perWord) - firstWord) * groups + (i % groups)]!;
    zeros[i] = (word >>> ((row % perWord) * bits)) & ((1 << bits) - 1);
  }
  return zeros;
}

/** The shape is stored a second time, as a tensor: that of another matrix shows that something was mixed up. */
async function checkShape(reader: PartReader, part: Part, rows: number, cols: number): Promise<void> {
  const raw = new Uint8Array(part.bytes);
  await reader.bytes(part, 0, raw);
  const view = new DataView(raw.buffer);
  const sizes = [0, 1].map((i) =>
    part.dtype === 'I64' ? Number(view.getBigInt64(i * 8, true)) : view.getInt32(i * 4, true),
  );
  if (sizes[0] === rows && sizes[1] === cols) return;
  throw partError(part, 'wrong-shape', `says [${sizes.join(', ')}], but config.json requires [${rows}, ${cols}]`);
}

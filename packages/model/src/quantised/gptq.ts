import { floatDtypes } from '../safetensors.ts';
import {
  besideWeight,
  type Encoding,
  type Part,
  type PartFinder,
  type PartReader,
  type StoredMatrix,
} from './encoding.ts';
import { groupsInOrder, readGroups, readInts } from './integers.ts';
import { int4RowsOf } from './int4-rows.ts';
import type { WeightFormat } from './quantisation.ts';
import { requireFinite } from './scales.ts';

type Gptq = Extract<WeightFormat, { kind: 'gptq' }>;

/**
 * GPTQ as AutoGPTQ and GPTQModel store it, by columns: `qweight` [cols · bits / 32, rows], `qzeros` [groups, rows · bits / 32],
 * `scales` [groups, rows], `g_idx` [cols] (older files without reordering have none). w = (code − zero) × scale of the column's
 * group. The first version of the format stores zero − 1, modulo 2^bits; "gptq_v2" stores zero.
 */
export function gptq(format: Gptq, matrix: StoredMatrix, finder: PartFinder): Encoding | undefined {
  const { bits, groupSize } = format;
  const { name, rows, cols, isVector } = matrix;
  const named = (suffix: string): string => besideWeight(name, suffix);
  if (isVector || finder.dtypeOf(named('qweight')) === undefined) return undefined;
  const groups = groupSize === null ? 1 : Math.ceil(cols / groupSize);
  const words = (count: number): number => Math.ceil((count * bits) / 32);
  const find = (suffix: string, dtypes: readonly Part['dtype'][], shape: number[]): Part =>
    finder.find({ name: named(suffix), dtypes, shapes: [shape] });
  const parts = {
    qweight: find('qweight', ['I32'], [words(cols), rows]),
    qzeros: find('qzeros', ['I32'], [groups, words(rows)]),
    scales: find('scales', floatDtypes, [groups, rows]),
    order: !format.reordered && finder.dtypeOf(named('g_idx')) === undefined ? null : find('g_idx', ['I32'], [cols]),
  };
  const mask = (1 << bits) - 1;
  const perWord = 32 / bits;
  const read = async (reader: PartReader): Promise<ByColumns> => ({
    groupOf: parts.order ? await readGroups(reader, parts.order, groupSize) : groupsInOrder(cols, groupSize),
    words: await readInts(reader, parts.qweight, 0, words(cols) * rows),
    scales: await reader.floats(parts.scales, 0, groups * rows),
    zeros: unpackZeros(await readInts(reader, parts.qzeros, 0, groups * words(rows)), rows, format),
  });
  const codeAt = (held: ByColumns, row: number, col: number): number =>
    (held.words[Math.floor(col / perWord) * rows + row]! >>> ((col % perWord) * bits)) & mask;
  return byColumns({ parts: Object.values(parts).filter((part) => part !== null), rows, cols, read, codeAt, bits });
}

/** [groups, rows] */
function unpackZeros(words: Int32Array, rows: number, { bits, zeroOffset }: Gptq): Uint8Array {
  const perWord = 32 / bits;
  const wordsPerGroup = Math.ceil(rows / perWord);
  const groups = words.length / wordsPerGroup;
  return Uint8Array.from({ length: groups * rows }, (_, i) => {
    const row = i % rows;
    const word = words[Math.floor(i / rows) * wordsPerGroup + Math.floor(row / perWord)]!;
    return ((word >>> ((row % perWord) * bits)) + zeroOffset) & ((1 << bits) - 1);
  });
}

/** What is held of a matrix whose rows lie across the stored tensors. */
export interface ByColumns {
  /** [cols] */
  groupOf: Int32Array;
  words: Int32Array;
  /** [groups, rows] */
  scales: Float32Array;
  /** [groups, rows] */
  zeros: Uint8Array;
}

/** The encoding of a matrix that has to be read whole for any of its rows; w = (code − zero) × scale. */
export function byColumns(stored: {
  parts: readonly Part[];
  rows: number;
  cols: number;
  bits: number;
  read: (reader: PartReader) => Promise<ByColumns>;
  codeAt: (held: ByColumns, row: number, col: number) => number;
}): Encoding {
  const { parts, rows, cols, bits, read, codeAt } = stored;
  const key = `${parts[0]!.name}@${parts[0]!.offset}`;
  return {
    isPlain: false,
    parts,
    rows: async (reader, firstRow, numRows, scratch) => {
      const held = await scratch.whole(key, () => read(reader));
      const values = scratch.values(numRows * cols);
      for (let c = 0; c < cols; c++) {
        const group = held.groupOf[c]! * rows;
        for (let r = 0; r < numRows; r++) {
          const row = firstRow + r;
          values[r * cols + c] = (codeAt(held, row, c) - held.zeros[group + row]!) * held.scales[group + row]!;
        }
      }
      return requireFinite(parts[0]!, values, firstRow * cols, [rows, cols]);
    },
    ...(bits === 4 && {
      int4Rows: async (reader, firstRow, numRows, scratch) => {
        const held = await scratch.whole(key, () => read(reader));
        if (held.zeros.some((zero) => zero !== MIDDLE_4)) return undefined;
        return int4RowsOf(numRows, cols, held.groupOf, {
          code: (r, c) => codeAt(held, firstRow + r, c) - MIDDLE_4,
          scale: (r, group) => held.scales[group * rows + firstRow + r]!,
        });
      },
    }),
  };
}

/** The zero point of symmetric 4-bit codes. */
const MIDDLE_4 = 8;

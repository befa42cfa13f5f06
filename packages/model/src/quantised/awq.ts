import { floatDtypes } from '../safetensors.ts';
import {
  besideWeight,
  type Encoding,
  type Part,
  type PartFinder,
  type PartReader,
  type StoredMatrix,
} from './encoding.ts';
import { byColumns, type ByColumns } from './gptq.ts';
import { groupsInOrder, readInts, requireWholeGroups } from './integers.ts';
import type { WeightFormat } from './quantisation.ts';

/** The nibble of a word that holds its k-th row: a word holds rows 0, 2, 4, 6, 1, 3, 5, 7, the lowest nibble first. */
const NIBBLE_OF = [0, 4, 1, 5, 2, 6, 3, 7];

/**
 * AWQ in its layout "gemm": `qweight` [cols, rows / 8], `qzeros` [groups, rows / 8] and `scales` [groups, rows];
 * w = (code − zero) × scale of the column's group.
 */
export function awq(
  { groupSize }: Extract<WeightFormat, { kind: 'awq' }>,
  matrix: StoredMatrix,
  finder: PartFinder,
): Encoding | undefined {
  const { name, rows, cols, isVector } = matrix;
  const named = (suffix: string): string => besideWeight(name, suffix);
  if (isVector || finder.dtypeOf(named('qweight')) === undefined) return undefined;
  const groups = groupSize === null ? 1 : Math.ceil(cols / groupSize);
  const words = Math.ceil(rows / 8);
  const find = (suffix: string, dtypes: readonly Part['dtype'][], shape: number[]): Part =>
    finder.find({ name: named(suffix), dtypes, shapes: [shape] });
  const qweight = find('qweight', ['I32'], [cols, words]);
  requireWholeGroups(qweight, cols, groupSize);
  const qzeros = find('qzeros', ['I32'], [groups, words]);
  const scales = find('scales', floatDtypes, [groups, rows]);
  const read = async (reader: PartReader): Promise<ByColumns> => {
    const zeros = await readInts(reader, qzeros, 0, groups * words);
    return {
      groupOf: groupsInOrder(cols, groupSize),
      words: await readInts(reader, qweight, 0, cols * words),
      scales: await reader.floats(scales, 0, groups * rows),
      zeros: Uint8Array.from({ length: groups * rows }, (_, i) => nibble(zeros, words, Math.floor(i / rows), i % rows)),
    };
  };
  const codeAt = (held: ByColumns, row: number, col: number): number => nibble(held.words, words, col, row);
  return byColumns({ parts: [qweight, qzeros, scales], rows, cols, bits: 4, read, codeAt });
}

/** The 4-bit code of a row in line `line` of [lines, words]. */
function nibble(packed: Int32Array, words: number, line: number, row: number): number {
  return (packed[line * words + (row >> 3)]! >>> (NIBBLE_OF[row & 7]! * 4)) & 15;
}

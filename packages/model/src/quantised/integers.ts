import { placeOf } from '../finite.ts';
import { type Part, partError, type PartReader } from './encoding.ts';

/** Values of a part in I32. */
export async function readInts(reader: PartReader, part: Part, first: number, count: number): Promise<Int32Array> {
  const values = new Int32Array(count);
  await reader.bytes(part, first * 4, new Uint8Array(values.buffer));
  return values;
}

/** Throws CheckpointError `wrong-shape` unless a row's columns are whole groups, as this part's format requires. */
export function requireWholeGroups(part: Part, cols: number, groupSize: number | null): void {
  if (groupSize === null || cols % groupSize === 0) return;
  const detail = `is of a matrix with ${cols} columns, which are no whole groups of ${groupSize} as in config.json`;
  throw partError(part, 'wrong-shape', detail);
}

/** The group of each column [cols], by their order. */
export function groupsInOrder(cols: number, groupSize: number | null): Int32Array {
  return Int32Array.from({ length: cols }, (_, col) => Math.floor(col / (groupSize ?? cols)));
}

/**
 * The group of each column [cols] as a tensor `g_idx` says, where columns were reordered by their importance (GPTQ's "desc_act").
 * Throws CheckpointError `bad-order` for a group that there isn't, or that has more columns than a group holds.
 */
export async function readGroups(reader: PartReader, order: Part, groupSize: number | null): Promise<Int32Array> {
  const cols = order.shape[0]!;
  const groupOf = await readInts(reader, order, 0, cols);
  const size = groupSize ?? cols;
  const counts = new Uint32Array(Math.ceil(cols / size));
  const bad = groupOf.findIndex((group) => group < 0 || group >= counts.length || ++counts[group]! > size);
  if (bad < 0) return groupOf;
  const detail = `the value at ${placeOf(bad, order.shape)} is ${groupOf[bad]}, but there are ${counts.length} groups of ${size} columns`;
  throw partError(order, 'bad-order', `${detail}: download it again`);
}

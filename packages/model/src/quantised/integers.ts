import { placeOf } from '../finite.ts';
import { type Part, partError, type PartReader } from './encoding.ts';

/** Values of a part in I32. */
export async function readInts(reader: PartReader, part: Part, first: number, count: number): Promise<Int32Array> {
  const values = new Int32Array(count);
  await reader.bytes(part, first * 4, new Uint8Array(values.buffer));
  return values;
}

/**
 * The group of each column [cols]: by their order, or as a tensor `g_idx` says, where columns were reordered by their importance
 * (GPTQ's "desc_act"). Throws CheckpointError `bad-order` for a group that there isn't.
 */
export async function readGroups(
  reader: PartReader,
  order: Part | null,
  { cols, groups, groupSize }: { cols: number; groups: number; groupSize: number },
): Promise<Int32Array> {
  if (!order) return Int32Array.from({ length: cols }, (_, col) => Math.floor(col / groupSize));
  const groupOf = await readInts(reader, order, 0, cols);
  const bad = groupOf.findIndex((group) => group < 0 || group >= groups);
  if (bad < 0) return groupOf;
  throw partError(
    order,
    'bad-order',
    `the value at ${placeOf(bad, order.shape)} is ${groupOf[bad]}, but there are ${groups} groups: download it again`,
  );
}

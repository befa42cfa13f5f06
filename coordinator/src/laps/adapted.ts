import { type ExpertAdapter, type ExpertAdapters, type ItemAdapters, rowRange, type RowWork } from '@shoal/model';
import type { Part } from './lap-splitter.ts';

/** What the adapters of a pass's rows add to routed experts; undefined for a row whose adapter changes none. */
export type RowAdapters = (row: number) => ExpertAdapters | undefined;

/** What is added to each assignment of a layer's rows; undefined if nothing is added to any. */
export function itemAdaptersOf(
  work: RowWork & { layer: number },
  adapters: RowAdapters | undefined,
): ItemAdapters | undefined {
  if (!adapters) return undefined;
  const { layer, numRows, experts: chosen } = work;
  const of = new Int32Array(chosen.length).fill(-1);
  const indices = new Map<ExpertAdapter, number>();
  for (let row = 0; row < numRows; row++) {
    const experts = adapters(row)?.get(layer);
    if (!experts) continue;
    const [from, to] = rowRange(work, row);
    for (let a = from; a < to; a++) {
      const adapter = experts.get(chosen[a]!);
      if (!adapter) continue;
      if (!indices.has(adapter)) indices.set(adapter, indices.size);
      of[a] = indices.get(adapter)!;
    }
  }
  return indices.size > 0 ? { of, experts: [...indices.keys()] } : undefined;
}

/** The parts of some assignments: of those that an adapter adds to, which no tab computes, and of the others. */
export function splitAdapted(
  adapters: ItemAdapters | undefined,
  assignments: readonly number[],
  split: (plain: readonly number[]) => Part[],
): Part[] {
  if (!adapters) return split(assignments);
  const adapted = assignments.filter((a) => adapters.of[a]! >= 0);
  const plain = assignments.filter((a) => adapters.of[a]! < 0);
  const own: Part[] = adapted.length > 0 ? [{ peer: null, assignments: adapted }] : [];
  return [...own, ...(plain.length > 0 ? split(plain) : [])];
}

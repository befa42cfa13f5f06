import {
  type AdapterScales,
  type ExpertAdapters,
  isAdapted,
  type ItemAdapters,
  ItemAdaptersBuilder,
  type Mixture,
  rowRange,
  type RowWork,
} from '@shoal/model';
import type { LapFigures } from './lap-figures.ts';
import type { Part } from './lap-splitter.ts';

/** What one adapter adds to the routed experts of a row. */
export interface RowAdapter {
  experts: ExpertAdapters;
  /** By layer and expert; 1 for each matrix by default. */
  scales?: ((layer: number, expert: number) => AdapterScales) | undefined;
}

/** The adapters of a pass's rows that add to routed experts. */
export type RowAdapters = (row: number) => readonly RowAdapter[];

/** What a mixture adds to the routed experts of a row with these scalings. */
export function mixedExperts({ experts }: Mixture, scalings: Float32Array): RowAdapter[] {
  return experts.flatMap((own, i) => {
    const scale = scalings[i]!;
    return own.size > 0 && scale !== 0 ? [{ experts: own, scales: () => [scale, scale, scale] }] : [];
  });
}

/** What is added to each assignment of a layer's rows; undefined if nothing is added to any. */
export function itemAdaptersOf(
  work: RowWork & { layer: number },
  adapters: RowAdapters | undefined,
): ItemAdapters | undefined {
  if (!adapters) return undefined;
  const { layer, numRows, experts: chosen } = work;
  const lists = new ItemAdaptersBuilder();
  for (let row = 0; row < numRows; row++) {
    const ofRow = adapters(row);
    const [from, to] = rowRange(work, row);
    for (let a = from; a < to; a++) {
      for (const { experts, scales } of ofRow) {
        const adapter = experts.get(layer)?.get(chosen[a]!);
        if (adapter) lists.add(adapter, scales?.(layer, chosen[a]!));
      }
      lists.end();
    }
  }
  return lists.build();
}

/** Counts what was computed of assignments that adapters add to. */
export function countAdapted(
  figures: LapFigures,
  adapters: ItemAdapters | undefined,
  { peer, assignments }: Part,
): void {
  if (!adapters) return;
  const count = assignments.filter((a) => isAdapted(adapters, a)).length;
  if (peer === null) figures.fallbackAdapted += count;
  else figures.tabAdapted += count;
}

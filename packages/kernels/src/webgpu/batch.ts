import {
  adapterRange,
  type ItemAdapters,
  ItemAdaptersBuilder,
  rowStart,
  type RowWork,
  type WorkItem,
} from '@shoal/model';

/** Consecutive laps that are computed together. */
export interface Batch {
  laps: readonly WorkItem[];
  /** [laps.length], each lap's first row within the batch. */
  firstRow: readonly number[];
  /** Number of distinct layers. */
  layers: number;
  /** The rows of all laps. Its experts are keys, from which `placeKey` gives layer and expert. */
  work: RowWork;
  placeKey: (key: number) => [layer: number, expert: number];
  adapters: ItemAdapters | undefined;
}

/** Layer and expert are 16 bits each. */
const LAYER = 2 ** 16;

export function batchOf(laps: readonly WorkItem[]): Batch {
  const [only, ...more] = laps;
  if (only !== undefined && more.length === 0) {
    const { adapters } = only;
    return { laps, firstRow: [0], layers: 1, work: only, placeKey: (expert) => [only.layer, expert], adapters };
  }
  const firstRow: number[] = [];
  let [numRows, numAssignments] = [0, 0];
  for (const lap of laps) {
    firstRow.push(numRows);
    numRows += lap.numRows;
    numAssignments += lap.experts.length;
  }
  const work = {
    numRows,
    rowEnd: new Uint32Array(numRows),
    experts: new Uint32Array(numAssignments),
    weights: new Float32Array(numAssignments),
  };
  for (const [i, lap] of laps.entries()) {
    const firstAssignment = rowStart(work, firstRow[i]!);
    for (let row = 0; row < lap.numRows; row++) work.rowEnd[firstRow[i]! + row] = firstAssignment + lap.rowEnd[row]!;
    for (let a = 0; a < lap.experts.length; a++)
      work.experts[firstAssignment + a] = lap.layer * LAYER + lap.experts[a]!;
    work.weights.set(lap.weights, firstAssignment);
  }
  const layers = new Set(laps.map(({ layer }) => layer)).size;
  const placeKey: Batch['placeKey'] = (key) => [Math.floor(key / LAYER), key % LAYER];
  return { laps, firstRow, layers, work, placeKey, adapters: adaptersOf(laps) };
}

function adaptersOf(laps: readonly WorkItem[]): ItemAdapters | undefined {
  if (!laps.some(({ adapters }) => adapters)) return undefined;
  const lists = new ItemAdaptersBuilder();
  for (const { adapters, experts } of laps) {
    for (let a = 0; a < experts.length; a++) {
      if (adapters) lists.addAll(adapters, ...adapterRange(adapters, a));
      lists.end();
    }
  }
  return lists.build();
}

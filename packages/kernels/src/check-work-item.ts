import { rowRange, rowStart, type WorkItem } from '@shoal/model';
import { KernelError } from './backend.ts';
import type { ExpertShape } from '@shoal/weights';

/** Above any model's experts per token, even if one expert repeats; it bounds the scratch that one row can ask for. */
export const MAX_ASSIGNMENTS_PER_ROW = 1_024;

/**
 * Refuse a lap whose arrays contradict each other (`bad-lap`) or that names an expert which isn't loaded (`not-loaded`),
 * before anything is computed.
 */
export function checkWorkItem(
  lap: WorkItem,
  shape: ExpertShape,
  has: (layer: number, expert: number) => boolean,
): void {
  const { numRows, rows, rowEnd, experts, weights } = lap;
  if (!Number.isInteger(numRows) || numRows < 0) throw badLap(`numRows is ${numRows}`);
  if (rows.length !== numRows * shape.hiddenSize) {
    throw badLap(
      `rows has ${rows.length} values, [${numRows}, ${shape.hiddenSize}] needs ${numRows * shape.hiddenSize}`,
    );
  }
  if (rowEnd.length !== numRows) throw badLap(`rowEnd has ${rowEnd.length} entries for ${numRows} rows`);
  if (weights.length !== experts.length) throw badLap(`${weights.length} weights for ${experts.length} experts`);
  for (let row = 0; row < numRows; row++) {
    const [from, to] = rowRange(lap, row);
    const count = to - from;
    if (count < 0) throw badLap(`rowEnd falls at row ${row}`);
    if (count > MAX_ASSIGNMENTS_PER_ROW) {
      throw badLap(`row ${row} names ${count} experts, more than the ${MAX_ASSIGNMENTS_PER_ROW} allowed`);
    }
  }
  const assigned = rowStart(lap, numRows);
  if (assigned !== experts.length) throw badLap(`rowEnd ends at ${assigned}, but there are ${experts.length} experts`);
  for (const expert of experts) {
    if (!has(lap.layer, expert)) {
      throw new KernelError('not-loaded', `expert ${expert} of layer ${lap.layer} is not loaded here`);
    }
  }
}

function badLap(what: string): KernelError {
  return new KernelError('bad-lap', `the lap contradicts itself: ${what}`);
}

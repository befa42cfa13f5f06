import { type Assignments, rowRange, type Slots } from '@shoal/model';
import { coverRows } from '@shoal/placement';
import type { LabLayer, LayerFigures } from '@shoal/protocol';

/** The tabs that hold an expert, as numbers. */
export type Holders = (expert: number) => readonly number[];

/** Digits of weights that travel: a picture shows no more. */
const WEIGHT_DIGITS = 1e4;

/** What a gate has chosen in a layer, with its figures. `rowBytes`: of a row on the wire. */
export function layerOf(
  layer: number,
  choice: Assignments | Slots,
  numExperts: number,
  holders: Holders,
  rowBytes: number,
): LabLayer {
  if (choice.kind === 'slots') return slotLayer(layer, choice, numExperts, holders, rowBytes);
  const { experts, weights, rowEnd, dropped } = choice;
  return {
    layer,
    figures: assignmentFigures(choice, numExperts, holders, rowBytes),
    rowEnd: [...rowEnd],
    experts: [...experts],
    weights: short(weights),
    dropped: dropped.map(({ row, expert }) => [row, expert]),
  };
}

function assignmentFigures(choice: Assignments, numExperts: number, holders: Holders, rowBytes: number): LayerFigures {
  const { numRows, experts, weights, dropped } = choice;
  const load = Array.from({ length: numExperts }, () => 0);
  for (const expert of experts) load[expert]!++;
  const rows = Array.from({ length: numRows }, (_, row) => rowRange(choice, row));
  const counts = rows.map(([from, to]) => to - from);
  const laps = lapsOf(choice, holders);
  return {
    load,
    loadBits: entropyBits(load),
    weightBits: mean(rows.map(([from, to]) => entropyBits(weights.subarray(from, to)))),
    expertsPerToken: [Math.min(...counts), mean(counts), Math.max(...counts)],
    dropped: dropped.length,
    withoutExpert: counts.filter((count) => count === 0).length,
    tabsPerToken: laps / numRows,
    bytesPerToken: (laps * 2 * rowBytes) / numRows,
  };
}

/** Every slot is a row to the tab of its expert, and every token is in all of them. */
function slotLayer(
  layer: number,
  { numRows, numSlots, slotsPerExpert, dispatch, combine }: Slots,
  numExperts: number,
  holders: Holders,
  rowBytes: number,
): LabLayer {
  const held = Array.from({ length: numExperts }, (_, expert) => holders(expert)[0]);
  const onTabs = held.filter((tab) => tab !== undefined);
  const ofRows = Array.from({ length: numRows }, (_, row) => combine.subarray(row * numSlots, (row + 1) * numSlots));
  const figures = {
    load: held.map(() => slotsPerExpert),
    loadBits: Math.log2(numExperts),
    weightBits: mean(ofRows.map(entropyBits)),
    expertsPerToken: [numExperts, numExperts, numExperts] as [number, number, number],
    dropped: 0,
    withoutExpert: 0,
    tabsPerToken: new Set(onTabs).size,
    bytesPerToken: (onTabs.length * slotsPerExpert * 2 * rowBytes) / numRows,
  };
  return { layer, figures, slotsPerExpert, dispatch: short(dispatch), combine: short(combine) };
}

/** Rows that are sent to tabs, each as often as it has tabs: as few as the dispatcher would ask. */
function lapsOf(choice: Assignments, holders: Holders): number {
  const { experts, numRows } = choice;
  const rows = new Uint32Array(experts.length);
  for (let row = 0; row < numRows; row++) rows.fill(row, ...rowRange(choice, row));
  const chosen = coverRows(experts, rows, { holders, usualMs: () => 0 });
  let laps = 0;
  for (let row = 0; row < numRows; row++) {
    const tabs = new Set(chosen.subarray(...rowRange(choice, row)));
    tabs.delete(-1);
    laps += tabs.size;
  }
  return laps;
}

/** −Σ p log2 p of the values' shares; 0 where they sum to 0. */
export function entropyBits(values: ArrayLike<number>): number {
  let sum = 0;
  for (let i = 0; i < values.length; i++) sum += values[i]!;
  let bits = 0;
  for (let i = 0; i < values.length; i++) if (values[i]! > 0) bits -= (values[i]! / sum) * Math.log2(values[i]! / sum);
  return bits;
}

function mean(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}

function short(weights: ArrayLike<number>): number[] {
  return Array.from(weights, (weight) => Math.round(weight * WEIGHT_DIGITS) / WEIGHT_DIGITS);
}

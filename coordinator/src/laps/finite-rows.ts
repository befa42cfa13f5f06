import { rowRange, type RowWork } from '@shoal/model';
import { notFiniteRows } from '@shoal/protocol';
import { rowsWithoutSum } from './lap.ts';
import type { RowParts } from './row-sums.ts';

/** The rows of a call, x [numRows, hiddenSize], with finite values and weights. Others cannot be sent, and concern only their sequence. */
export function finiteRows(x: Float32Array, work: RowWork): number[] {
  const damaged = new Set(notFiniteRows(x, x.length / work.numRows));
  const hasWeights = (row: number): boolean => assignmentsOf(work, row).every((a) => Number.isFinite(work.weights[a]));
  return othersThan([...damaged], work.numRows).filter(hasWeights);
}

/** The rows of a peer's answer, [numRows, hiddenSize], with and without a finite sum. */
export function bySums(partial: Float32Array, numRows: number): { summed: number[]; without: number[] } {
  const without = rowsWithoutSum(partial, partial.length / numRows);
  return { summed: othersThan(without, numRows), without };
}

/** Whether one of these rows has a finite sum in all of the parts that it has one in. */
export function someHasSum(rows: readonly number[], parts: readonly RowParts[]): boolean {
  const damaged = new Set<number>();
  for (const part of parts)
    for (const i of notFiniteRows(part.partial, part.partial.length / part.rows.length)) damaged.add(part.rows[i]!);
  return rows.some((row) => !damaged.has(row));
}

/** A row of which a gate has dropped all experts has none. */
export function hasAssignments(work: RowWork, row: number): boolean {
  const [from, to] = rowRange(work, row);
  return from < to;
}

/** A row's assignments. */
export function assignmentsOf(work: RowWork, row: number): number[] {
  const [from, to] = rowRange(work, row);
  return Array.from({ length: to - from }, (_, i) => from + i);
}

/** Of the rows 0 to numRows − 1, those that are not among `rows`. */
export function othersThan(rows: readonly number[], numRows: number): number[] {
  const among = new Set(rows);
  return Array.from({ length: numRows }, (_, row) => row).filter((row) => !among.has(row));
}

/** These rows of [numRows, hiddenSize]. */
export function rowsOf(values: Float32Array, rows: readonly number[], hiddenSize: number): Float32Array {
  const picked = new Float32Array(rows.length * hiddenSize);
  for (const [i, row] of rows.entries())
    picked.set(values.subarray(row * hiddenSize, (row + 1) * hiddenSize), i * hiddenSize);
  return picked;
}

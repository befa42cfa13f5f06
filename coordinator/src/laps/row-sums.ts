import { f16ToF32 } from '@shoal/model';
import { firstNotFiniteF16, type RowFormat, roundRows } from '@shoal/protocol';

/** What one part of a lap gives: a vector for each of its rows. */
export interface RowParts {
  /** Rows of the call, one for each row of `partial`. */
  rows: readonly number[];
  /** [rows.length, hiddenSize]: f16 bits, as peers send them; or values, where f16 cannot hold them. */
  partial: Uint16Array | Float32Array;
}

/**
 * Adds up the parts of each row: [numRows, hiddenSize]. f16 values are multiples of 2⁻²⁴ below 2¹⁶, so their sum in f64 is
 * exact and the same in any order. Most rows have one part, which is only decoded.
 */
export function sumParts(parts: readonly RowParts[], numRows: number, hiddenSize: number): Float32Array {
  const sums = new Float32Array(numRows * hiddenSize);
  const count = new Uint16Array(numRows);
  for (const { rows } of parts) for (const row of rows) count[row]!++;
  /** Of rows with more than one part, until they are complete. */
  const exact = new Map<number, Float64Array>();
  for (const { rows, partial } of parts) {
    for (const [i, row] of rows.entries()) {
      const from = i * hiddenSize;
      if (count[row] === 1) {
        copyRow(partial, from, sums.subarray(row * hiddenSize, (row + 1) * hiddenSize));
        continue;
      }
      let sum = exact.get(row);
      if (sum === undefined) exact.set(row, (sum = new Float64Array(hiddenSize)));
      addRow(partial, from, sum);
    }
  }
  for (const [row, sum] of exact) sums.set(sum, row * hiddenSize);
  return sums;
}

/**
 * Sums of the coordinator's as a peer would send them, so that an answer doesn't depend on where it was computed; unrounded
 * where they are not finite in that format.
 */
export function asSent(partial: Float32Array, format: RowFormat, hiddenSize: number): Uint16Array | Float32Array {
  const bits = roundRows(format, partial, hiddenSize);
  return firstNotFiniteF16(bits) < 0 ? bits : partial;
}

/** Copies the row at `from`; − 0 becomes + 0, as in a sum. */
function copyRow(partial: Uint16Array | Float32Array, from: number, to: Float32Array): void {
  if (partial instanceof Float32Array) for (let d = 0; d < to.length; d++) to[d] = partial[from + d]! + 0;
  else for (let d = 0; d < to.length; d++) to[d] = f16ToF32(partial[from + d]!) + 0;
}

function addRow(partial: Uint16Array | Float32Array, from: number, sum: Float64Array): void {
  if (partial instanceof Float32Array) for (let d = 0; d < sum.length; d++) sum[d]! += partial[from + d]!;
  else for (let d = 0; d < sum.length; d++) sum[d]! += f16ToF32(partial[from + d]!);
}

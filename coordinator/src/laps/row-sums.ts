/** What one part of a lap gives: a vector for each of its rows. */
export interface RowParts {
  /** Rows of the call, one for each row of `partial`. */
  rows: readonly number[];
  /** [rows.length, hiddenSize], rounded as on the wire. */
  partial: Float32Array;
}

/**
 * Adds up the parts of each row: [numRows, hiddenSize]. f16 values are multiples of 2⁻²⁴ below 2¹⁶, so their sum in f64 is
 * exact and the same in any order; with exponents up to 10 it still is. Most rows have one part, which is only copied.
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

/** Copies the row at `from`; − 0 becomes + 0, as in a sum. */
function copyRow(partial: Float32Array, from: number, to: Float32Array): void {
  for (let d = 0; d < to.length; d++) to[d] = partial[from + d]! + 0;
}

function addRow(partial: Float32Array, from: number, sum: Float64Array): void {
  for (let d = 0; d < sum.length; d++) sum[d]! += partial[from + d]!;
}

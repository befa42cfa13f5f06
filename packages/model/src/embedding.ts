/**
 * A text's embedding: the mean of its rows of hidden [rows, hiddenSize], cut to its first `dimensions` values (Kusupati et al. 2022)
 * and divided by its norm. Sums are in float64.
 */
export function meanEmbedding(
  hidden: Float32Array,
  hiddenSize: number,
  { firstRow, numRows }: { firstRow: number; numRows: number },
  dimensions = hiddenSize,
): Float32Array {
  // The mean's divisor cancels out.
  const sum = new Float64Array(dimensions);
  for (let r = firstRow; r < firstRow + numRows; r++) {
    for (let i = 0; i < dimensions; i++) sum[i] = sum[i]! + hidden[r * hiddenSize + i]!;
  }
  const norm = Math.hypot(...sum);
  return Float32Array.from(sum, (value) => (norm === 0 ? 0 : value / norm));
}

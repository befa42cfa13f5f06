/** Rows of a matrix of 4-bit integers: blocks of 32 columns that share a scale, w = scale × code. */
export interface Int4Rows {
  /** [numRows, columns], −8 … 7 */
  codes: Int8Array;
  /** [numRows, ⌈columns / 32⌉] */
  scales: Float32Array;
}

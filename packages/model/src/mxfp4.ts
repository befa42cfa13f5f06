/** Rows of a matrix in MXFP4 (OCP Microscaling Formats 1.0): blocks of 32 columns that share a power of two. */
export interface Mxfp4Rows {
  /** [numRows, ⌈columns / 2⌉]: FP4 E2M1, the even column in the low nibble. */
  codes: Uint8Array;
  /** [numRows, ⌈columns / 32⌉]: E8M0, 2^(byte − 127). */
  scales: Uint8Array;
}

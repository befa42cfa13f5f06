/** Rows of a matrix in MXFP4 (OCP Microscaling Formats 1.0): blocks of 32 columns that share a power of two. */
export interface Mxfp4Rows {
  /** [numRows, ⌈columns / 2⌉]: FP4 E2M1, the even column in the low nibble. */
  codes: Uint8Array;
  /** [numRows, ⌈columns / 32⌉]: E8M0, 2^(byte − 127); 255 is NaN. */
  scales: Uint8Array;
}

/** Columns that share a scale. */
export const MXFP4_BLOCK = 32;
/** The E8M0 code of NaN. */
export const E8M0_NAN = 255;
/** The elements, by their four bits: sign, two bits of exponent, one of mantissa. */
const E2M1: Float64Array = Float64Array.from([0, 0.5, 1, 1.5, 2, 3, 4, 6, -0, -0.5, -1, -1.5, -2, -3, -4, -6]);

/** The element of a code, of which only the low four bits count. */
export function e2m1Of(code: number): number {
  return E2M1[code & 15]!;
}

/** 2^(scale − 127), or NaN. */
export function e8m0Of(scale: number): number {
  return scale === E8M0_NAN ? Number.NaN : 2 ** (scale - 127);
}

/** The values of some rows, [numRows, cols]. Exact, unless a value is beyond float32, which gives ∞. */
export function decodeMxfp4({ codes, scales }: Mxfp4Rows, cols: number): Float32Array {
  const [rowBytes, blocks] = [Math.ceil(cols / 2), Math.ceil(cols / MXFP4_BLOCK)];
  const numRows = codes.length / rowBytes;
  const values = new Float32Array(numRows * cols);
  for (let row = 0; row < numRows; row++) {
    for (let block = 0; block < blocks; block++) {
      const scale = e8m0Of(scales[row * blocks + block]!);
      const end = Math.min(cols, (block + 1) * MXFP4_BLOCK);
      for (let col = block * MXFP4_BLOCK; col < end; col++) {
        const pair = codes[row * rowBytes + (col >> 1)]!;
        values[row * cols + col] = e2m1Of(col & 1 ? pair >> 4 : pair) * scale;
      }
    }
  }
  return values;
}

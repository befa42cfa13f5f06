/** The values of FP4 E2M1's 16 codes (OCP Microscaling Formats 1.0, §5.3.3): sign, 2 bits of exponent, 1 of mantissa. */
export const e2m1Values = Float32Array.of(0, 0.5, 1, 1.5, 2, 3, 4, 6, -0, -0.5, -1, -1.5, -2, -3, -4, -6);

/** Multiplies the codes of a row [cols], two a byte with the even column in the low nibble, by their blocks' scales. */
export function decodeE2m1Row(
  codes: Uint8Array,
  from: number,
  scaleOf: (block: number) => number,
  blockCols: number,
  out: Float32Array,
): void {
  for (let c = 0; c < out.length; c++) {
    const code = (codes[from + (c >> 1)]! >> ((c & 1) * 4)) & 15;
    out[c] = e2m1Values[code]! * scaleOf(Math.floor(c / blockCols));
  }
}

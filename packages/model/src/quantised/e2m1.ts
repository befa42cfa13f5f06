import { e2m1Of } from '../mxfp4.ts';

/** Multiplies the FP4 codes of a row [cols], two a byte with the even column in the low nibble, by their blocks' scales. */
export function decodeE2m1Row(
  codes: Uint8Array,
  from: number,
  scaleOf: (block: number) => number,
  blockCols: number,
  out: Float32Array,
): void {
  for (let start = 0, block = 0; start < out.length; start += blockCols, block++) {
    const scale = scaleOf(block);
    const end = Math.min(start + blockCols, out.length);
    for (let c = start; c < end; c++) {
      out[c] = e2m1Of(codes[from + (c >> 1)]! >> ((c & 1) * 4)) * scale;
    }
  }
}

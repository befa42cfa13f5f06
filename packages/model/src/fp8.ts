/**
 * The values of the 256 codes of float8_e4m3fn (Micikevicius et al. 2022, "FP8 formats for deep learning"): sign, 4 bits of
 * exponent (bias 7), 3 of mantissa; no infinities, and NaN only where all other bits are set.
 */
export const e4m3Values: Float32Array = Float32Array.from({ length: 256 }, (_, code) => {
  const exponent = (code >> 3) & 0xf;
  const mantissa = code & 0x7;
  if (exponent === 0xf && mantissa === 0x7) return Number.NaN;
  const magnitude = exponent === 0 ? (mantissa / 8) * 2 ** -6 : (1 + mantissa / 8) * 2 ** (exponent - 7);
  return code & 0x80 ? -magnitude : magnitude;
});

/**
 * Multiplies values [rows, columns] in place by their blocks' scales [⌈rows / blockRows⌉, ⌈columns / blockColumns⌉] (DeepSeek-V3
 * paper §3.3.2). Blocks at the right and bottom edge may be smaller. `values` begin with row `firstRow` of the matrix.
 */
export function applyBlockScales(
  values: Float32Array,
  columns: number,
  scales: Float32Array,
  [blockRows, blockColumns]: readonly [number, number],
  firstRow = 0,
): void {
  const blocksPerRow = Math.ceil(columns / blockColumns);
  for (let start = 0, row = firstRow; start < values.length; start += columns, row++) {
    const blocks = Math.floor(row / blockRows) * blocksPerRow;
    for (let c = 0; c < columns; c++) {
      values[start + c] = values[start + c]! * scales[blocks + Math.floor(c / blockColumns)]!;
    }
  }
}

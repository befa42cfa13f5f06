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

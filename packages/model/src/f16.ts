/**
 * IEEE 754 binary16, for which Node 20 has no typed array: values are kept as their 16 bits in a Uint16Array.
 * Rounding is to nearest, ties to even; overflow gives ±∞; NaN stays NaN.
 */

const bits = new Uint32Array(1);
const value = new Float32Array(bits.buffer);

/** Bits of 65,520, halfway between the largest finite half and the next power of two: it rounds away, to ∞. */
const F16_OVERFLOW = 0x477ff000;

/** All 65,536 binary16 values as float32, so that decoding is a look-up. */
const decoded = Float32Array.from({ length: 0x10000 }, (_, half) => decode(half));

function decode(half: number): number {
  const sign = half & 0x8000 ? -1 : 1;
  const exponent = (half >> 10) & 0x1f;
  const mantissa = half & 0x3ff;
  if (exponent === 0x1f) return mantissa ? Number.NaN : sign * Number.POSITIVE_INFINITY;
  if (exponent === 0) return sign * mantissa * 2 ** -24;
  return sign * (1 + mantissa / 1024) * 2 ** (exponent - 15);
}

/** The value of 16 bits. */
export function f16ToF32(half: number): number {
  return decoded[half]!;
}

/** The 16 bits nearest to a number. */
export function f32ToF16(x: number): number {
  value[0] = x;
  return halfOf(bits[0]!);
}

/** @param b a float32's bits */
function halfOf(b: number): number {
  const sign = (b >>> 16) & 0x8000;
  const magnitude = b & 0x7fffffff;
  if (magnitude > 0x7f800000) return sign | 0x7e00;
  if (magnitude >= F16_OVERFLOW) return sign | 0x7c00;
  if (magnitude >= 0x38800000) {
    // Normal: re-bias the exponent, round 13 mantissa bits away; a carry runs into the exponent, as it should.
    const rounded = magnitude - 0x38000000 + 0xfff + ((magnitude >>> 13) & 1);
    return sign | (rounded >>> 13);
  }
  if (magnitude < 0x33000000) return sign;
  // Subnormal: units of 2^-24. The significand is shifted to them; the bits that fall off decide the rounding.
  const shift = 126 - (magnitude >>> 23);
  const significand = (magnitude & 0x7fffff) | 0x800000;
  const units = significand >>> shift;
  const rest = significand & ((1 << shift) - 1);
  const half = 1 << (shift - 1);
  return sign | (rest > half || (rest === half && units & 1) ? units + 1 : units);
}

/** The largest result of `f16Exponent`: 65,504 × 2^112 is close to the largest float32. */
export const MAX_F16_EXPONENT = 112;

/**
 * The smallest exponent with which values × 2^−exponent are finite in f16: 0 if they are as they are. Undefined if a value is NaN
 * or ∞, or would need a larger one than MAX_F16_EXPONENT.
 */
export function f16Exponent(values: Float32Array): number | undefined {
  const valueBits = new Uint32Array(values.buffer, values.byteOffset, values.length);
  let largest = 0;
  for (let i = 0; i < valueBits.length; i++) {
    const magnitude = valueBits[i]! & 0x7fffffff;
    if (magnitude > largest) largest = magnitude;
  }
  if (largest < F16_OVERFLOW) return 0;
  const exponent = (largest >>> 23) - (F16_OVERFLOW >>> 23) + Number((largest & 0x7fffff) >= (F16_OVERFLOW & 0x7fffff));
  return exponent <= MAX_F16_EXPONENT ? exponent : undefined;
}

/** Encodes `source` into `target` (or a new array) of the same length. */
export function encodeF16<T extends ArrayBufferLike = ArrayBuffer>(
  source: Float32Array,
  target = new Uint16Array(source.length) as Uint16Array<T>,
): Uint16Array<T> {
  // Through another view of the same bytes: storing each value in order to read its bits takes several times as long.
  const sourceBits = new Uint32Array(source.buffer, source.byteOffset, source.length);
  for (let i = 0; i < source.length; i++) target[i] = halfOf(sourceBits[i]!);
  return target;
}

/** Decodes `source` into `target` (or a new array) of the same length. */
export function decodeF16(source: Uint16Array, target: Float32Array = new Float32Array(source.length)): Float32Array {
  for (let i = 0; i < source.length; i++) target[i] = decoded[source[i]!]!;
  return target;
}

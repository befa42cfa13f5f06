// Small vector primitives that several kernels share.

/** The f32 value 2¹¹²: what a half's bits, moved to where a float has them, are too small by. */
export const HALF_REBIAS: f32 = 5192296858534827628530496329220096.0;

/**
 * Four halves, sign-extended to 32 bits, as floats 2¹¹² times too small; multiply by HALF_REBIAS, at once or later. Exact
 * for every finite half, subnormal ones included (they pass through subnormal floats).
 */
// @ts-ignore: decorator
@inline
export function tinyOfHalves(halves: v128): v128 {
  return v128.and(i32x4.shl(halves, 13), i32x4.splat(0x8fffe000));
}

/** Four halves, sign-extended to 32 bits, as floats; NaN and ∞ stay what they are. */
// @ts-ignore: decorator
@inline
export function floatsOfHalves(halves: v128): v128 {
  const values = f32x4.mul(tinyOfHalves(halves), f32x4.splat(HALF_REBIAS));
  // What came out at 2¹⁶ or above had all exponent bits set.
  const special = f32x4.ge(f32x4.abs(values), f32x4.splat(65536));
  return v128.or(values, v128.and(special, i32x4.splat(0x7f800000)));
}

/** a × b + c, in one rounding where the host has relaxed SIMD. */
// @ts-ignore: decorator
@inline
export function madd(a: v128, b: v128, c: v128): v128 {
  if (RELAXED) return f32x4.relaxed_madd(a, b, c);
  return f32x4.add(f32x4.mul(a, b), c);
}

/** The sums of the lanes of a, b, c and d, in this order, as one vector. Integers. */
// @ts-ignore: decorator
@inline
export function laneSumsI32(a: v128, b: v128, c: v128, d: v128): v128 {
  const ab = i32x4.add(v128.shuffle<i32>(a, b, 0, 4, 1, 5), v128.shuffle<i32>(a, b, 2, 6, 3, 7));
  const cd = i32x4.add(v128.shuffle<i32>(c, d, 0, 4, 1, 5), v128.shuffle<i32>(c, d, 2, 6, 3, 7));
  return i32x4.add(v128.shuffle<i64>(ab, cd, 0, 2), v128.shuffle<i64>(ab, cd, 1, 3));
}

/** As laneSumsI32, of floats; (0 + 2) + (1 + 3) of each. */
// @ts-ignore: decorator
@inline
export function laneSumsF32(a: v128, b: v128, c: v128, d: v128): v128 {
  const ab = f32x4.add(v128.shuffle<i32>(a, b, 0, 4, 1, 5), v128.shuffle<i32>(a, b, 2, 6, 3, 7));
  const cd = f32x4.add(v128.shuffle<i32>(c, d, 0, 4, 1, 5), v128.shuffle<i32>(c, d, 2, 6, 3, 7));
  return f32x4.add(v128.shuffle<i64>(ab, cd, 0, 2), v128.shuffle<i64>(ab, cd, 1, 3));
}

/** The largest lane; NaN if any is. */
// @ts-ignore: decorator
@inline
export function largestLane(values: v128): f32 {
  const pairs = f32x4.max(values, v128.shuffle<i32>(values, values, 2, 3, 0, 1));
  return max(f32x4.extract_lane(pairs, 0), f32x4.extract_lane(pairs, 1));
}

/** eˣ within 2 ulp (Cephes' expf: range reduction by ln 2 in two parts, a polynomial of degree 6), kept within f32's normal range. */
// @ts-ignore: decorator
@inline
export function exp(x: v128): v128 {
  const bounded = f32x4.max(f32x4.min(x, f32x4.splat(88)), f32x4.splat(-87));
  const n = f32x4.nearest(f32x4.mul(bounded, f32x4.splat(1.44269504088896341)));
  const high = f32x4.sub(bounded, f32x4.mul(n, f32x4.splat(0.693359375)));
  const r = f32x4.sub(high, f32x4.mul(n, f32x4.splat(-2.12194440e-4)));
  let p = f32x4.splat(1.9875691500e-4);
  p = f32x4.add(f32x4.mul(p, r), f32x4.splat(1.3981999507e-3));
  p = f32x4.add(f32x4.mul(p, r), f32x4.splat(8.3334519073e-3));
  p = f32x4.add(f32x4.mul(p, r), f32x4.splat(4.1665795894e-2));
  p = f32x4.add(f32x4.mul(p, r), f32x4.splat(1.6666665459e-1));
  p = f32x4.add(f32x4.mul(p, r), f32x4.splat(5.0000001201e-1));
  const mantissa = f32x4.add(f32x4.add(f32x4.mul(f32x4.mul(r, r), p), r), f32x4.splat(1));
  const power = i32x4.shl(i32x4.add(i32x4.trunc_sat_f32x4_s(n), i32x4.splat(127)), 23);
  return f32x4.mul(mantissa, power);
}

/** x / (1 + e⁻ˣ) */
// @ts-ignore: decorator
@inline
export function silu(x: v128): v128 {
  return f32x4.div(x, f32x4.add(f32x4.splat(1), exp(f32x4.neg(x))));
}

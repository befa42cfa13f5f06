// e^x in float64, for sums over a whole vocabulary. Attention's exp4 (primitives.ts) has only float32's precision.

/** Weights below this are 0; e^-708 is about the smallest normal float64. */
const LEAST: f64 = -708;
/** 1.5 × 2^52. A number added to it is rounded to an integer in the sum's lowest bits. */
const ROUNDING: f64 = 6755399441055744;

/**
 * e^x of both lanes, x ≤ 0, with a relative error below 1e-12; 0 below -708, NaN is not expected. x = n ln 2 + r, and
 * e^r = (e^(r/4))^4 by the Taylor polynomial of degree 7, which is off by (ln 2 / 8)^8 / 8! × 4 = 3e-13.
 */
@inline
export function exp2Lanes(x: v128): v128 {
  const clamped = f64x2.max(x, f64x2.splat(LEAST));
  const rounded = f64x2.add(f64x2.mul(clamped, f64x2.splat(1.44269504088896340736)), f64x2.splat(ROUNDING));
  const n = f64x2.sub(rounded, f64x2.splat(ROUNDING));
  let r = f64x2.sub(clamped, f64x2.mul(n, f64x2.splat(6.93147180369123816490e-1)));
  r = f64x2.sub(r, f64x2.mul(n, f64x2.splat(1.90821492927058770002e-10)));
  r = f64x2.mul(r, f64x2.splat(0.25));
  let p = f64x2.splat(1.0 / 5040);
  p = f64x2.add(f64x2.mul(p, r), f64x2.splat(1.0 / 720));
  p = f64x2.add(f64x2.mul(p, r), f64x2.splat(1.0 / 120));
  p = f64x2.add(f64x2.mul(p, r), f64x2.splat(1.0 / 24));
  p = f64x2.add(f64x2.mul(p, r), f64x2.splat(1.0 / 6));
  p = f64x2.add(f64x2.mul(p, r), f64x2.splat(0.5));
  p = f64x2.add(f64x2.mul(p, r), f64x2.splat(1));
  p = f64x2.add(f64x2.mul(p, r), f64x2.splat(1));
  p = f64x2.mul(p, p);
  p = f64x2.mul(p, p);
  const power = i64x2.shl(i64x2.add(rounded, i64x2.splat(1023)), 52);
  return v128.and(f64x2.mul(p, power), f64x2.ge(x, f64x2.splat(LEAST)));
}

/** e^x with the same bits as `exp2Lanes`. */
@inline
export function expOf(x: f64): f64 {
  return f64x2.extract_lane(exp2Lanes(f64x2.splat(x)), 0);
}

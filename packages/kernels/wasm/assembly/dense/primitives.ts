// Functions that the dense kernels share. Every sum has one order, whatever tile or thread it is computed in.

/** 2^112. An f16's bits, shifted into an f32, are a number that is too small by this factor. */
const F16_REBIAS: f32 = 5192296858534827628530496329220096.0;

/** Four f16 (sign-extended into i32 lanes) as f32 × 2^-112; exact, subnormals included. */
@inline
export function unscaledHalves(h: v128): v128 {
  return v128.and(i32x4.shl(h, 13), i32x4.splat(0x8fffe000));
}

/** Four f16 from memory as f32. */
@inline
export function loadHalves(p: usize): v128 {
  const h = v128.load16x4_s(p);
  const magnitude = f32x4.mul(unscaledHalves(h), f32x4.splat(F16_REBIAS));
  // ±∞ and NaN have the largest exponent of f16, which is an ordinary one after the shift.
  const special = i32x4.gt_s(v128.and(h, i32x4.splat(0x7fff)), i32x4.splat(0x7bff));
  return v128.or(magnitude, v128.and(special, i32x4.splat(0x7f800000)));
}

/** Four finite f16 from memory (block scales) as f32. */
@inline
export function loadScales(p: usize): v128 {
  return f32x4.mul(unscaledHalves(v128.load16x4_s(p)), f32x4.splat(F16_REBIAS));
}

/** a × b + c, in one rounding where the host has relaxed SIMD. */
@inline
export function madd(a: v128, b: v128, c: v128): v128 {
  if (RELAXED) return f32x4.relaxed_madd(a, b, c);
  return f32x4.add(f32x4.mul(a, b), c);
}

/** f32 → f16 bits in i32 lanes; to nearest, ties to even (F. Giesen, float_to_half_fast3_rtne). */
@inline
export function toHalves(x: v128): v128 {
  const sign = v128.and(x, i32x4.splat(0x80000000));
  const f = v128.xor(x, sign);
  const odd = v128.and(i32x4.shr_u(f, 13), i32x4.splat(1));
  const normal = i32x4.shr_u(i32x4.add(i32x4.add(f, i32x4.splat(0xc8000fff)), odd), 13);
  const magic = i32x4.splat(0x3f000000);
  const subnormal = i32x4.sub(f32x4.add(f, magic), magic);
  const special = v128.bitselect(i32x4.splat(0x7e00), i32x4.splat(0x7c00), i32x4.gt_s(f, i32x4.splat(0x7f800000)));
  const finite = v128.bitselect(subnormal, normal, i32x4.lt_s(f, i32x4.splat(0x38800000)));
  const magnitude = v128.bitselect(finite, special, i32x4.lt_s(f, i32x4.splat(0x47800000)));
  return v128.or(magnitude, i32x4.shr_u(sign, 16));
}

/** [a0 + a2, b0 + b2, a1 + a3, b1 + b3] of i32 lanes: two rows' sums in halves, which `joinSumsI32` adds. */
@inline
export function sumHalvesI32(a: v128, b: v128): v128 {
  return i32x4.add(v128.shuffle<i32>(a, b, 0, 4, 1, 5), v128.shuffle<i32>(a, b, 2, 6, 3, 7));
}

/** [Σa, Σb, Σc, Σd] from `sumHalvesI32` of a and b, and of c and d. */
@inline
export function joinSumsI32(ab: v128, cd: v128): v128 {
  return i32x4.add(v128.shuffle<i32>(ab, cd, 0, 1, 4, 5), v128.shuffle<i32>(ab, cd, 2, 3, 6, 7));
}

/** [Σa, Σb, Σc, Σd] of i32 lanes. */
@inline
export function sumLanesI32(a: v128, b: v128, c: v128, d: v128): v128 {
  return joinSumsI32(sumHalvesI32(a, b), sumHalvesI32(c, d));
}

/** [Σa, Σb, Σc, Σd] of f32 lanes. */
@inline
export function sumLanesF32(a: v128, b: v128, c: v128, d: v128): v128 {
  const ab = f32x4.add(v128.shuffle<i32>(a, b, 0, 4, 1, 5), v128.shuffle<i32>(a, b, 2, 6, 3, 7));
  const cd = f32x4.add(v128.shuffle<i32>(c, d, 0, 4, 1, 5), v128.shuffle<i32>(c, d, 2, 6, 3, 7));
  return f32x4.add(v128.shuffle<i32>(ab, cd, 0, 1, 4, 5), v128.shuffle<i32>(ab, cd, 2, 3, 6, 7));
}

/** Sum of the four f32 lanes. */
@inline
export function sumLanes(v: v128): f32 {
  return (
    f32x4.extract_lane(v, 0) + f32x4.extract_lane(v, 2) + (f32x4.extract_lane(v, 1) + f32x4.extract_lane(v, 3))
  );
}

@inline
export function maxLanes(v: v128): f32 {
  return max<f32>(
    max<f32>(f32x4.extract_lane(v, 0), f32x4.extract_lane(v, 1)),
    max<f32>(f32x4.extract_lane(v, 2), f32x4.extract_lane(v, 3)),
  );
}

/** e^x with a relative error below 2e-7 (Cephes expf): x is clamped to [-87.3, 88.3]; NaN stays NaN. */
@inline
export function exp4(x: v128): v128 {
  const clamped = f32x4.min(f32x4.max(x, f32x4.splat(-87.3)), f32x4.splat(88.3));
  const n = f32x4.nearest(f32x4.mul(clamped, f32x4.splat(1.44269504088896341)));
  let r = f32x4.sub(clamped, f32x4.mul(n, f32x4.splat(0.693359375)));
  r = f32x4.add(r, f32x4.mul(n, f32x4.splat(2.12194440e-4)));
  let p = f32x4.splat(1.9875691500e-4);
  p = f32x4.add(f32x4.mul(p, r), f32x4.splat(1.3981999507e-3));
  p = f32x4.add(f32x4.mul(p, r), f32x4.splat(8.3334519073e-3));
  p = f32x4.add(f32x4.mul(p, r), f32x4.splat(4.1665795894e-2));
  p = f32x4.add(f32x4.mul(p, r), f32x4.splat(1.6666665459e-1));
  p = f32x4.add(f32x4.mul(p, r), f32x4.splat(5.0000001201e-1));
  const y = f32x4.add(f32x4.add(f32x4.mul(f32x4.mul(p, r), r), r), f32x4.splat(1));
  const power = i32x4.shl(i32x4.add(i32x4.trunc_sat_f32x4_s(n), i32x4.splat(127)), 23);
  return f32x4.mul(y, power);
}

@inline
export function exp1(x: f32): f32 {
  return f32x4.extract_lane(exp4(f32x4.splat(x)), 0);
}

/**
 * u Φ(u), with the error function as a quotient of polynomials up to 4, from where on it is 1 in f32 (the coefficients of Eigen's
 * generic_fast_erf_float); off by at most 4.2e-7. NaN stays NaN.
 */
@inline
export function gelu4(u: v128): v128 {
  const x = f32x4.min(f32x4.max(f32x4.mul(u, f32x4.splat(0.7071067811865476)), f32x4.splat(-4)), f32x4.splat(4));
  const s = f32x4.mul(x, x);
  let p = f32x4.add(f32x4.mul(f32x4.splat(-2.72614225801306e-10), s), f32x4.splat(2.77068142495902e-8));
  p = f32x4.sub(f32x4.mul(p, s), f32x4.splat(2.10102402082508e-6));
  p = f32x4.sub(f32x4.mul(p, s), f32x4.splat(5.69250639462346e-5));
  p = f32x4.sub(f32x4.mul(p, s), f32x4.splat(7.34990630326855e-4));
  p = f32x4.sub(f32x4.mul(p, s), f32x4.splat(2.95459980854025e-3));
  p = f32x4.sub(f32x4.mul(p, s), f32x4.splat(1.60960333262415e-2));
  let q = f32x4.sub(f32x4.mul(f32x4.splat(-1.45660718464996e-5), s), f32x4.splat(2.13374055278905e-4));
  q = f32x4.sub(f32x4.mul(q, s), f32x4.splat(1.68282697438203e-3));
  q = f32x4.sub(f32x4.mul(q, s), f32x4.splat(7.37332916720468e-3));
  q = f32x4.sub(f32x4.mul(q, s), f32x4.splat(1.42647390514189e-2));
  const erf = f32x4.div(f32x4.mul(x, p), q);
  return f32x4.mul(f32x4.mul(u, f32x4.splat(0.5)), f32x4.add(erf, f32x4.splat(1)));
}

/** The first `count` (1 to 4) lanes to memory. */
@inline
export function storeLanes(p: usize, v: v128, count: i32): void {
  if (count >= 4) {
    v128.store(p, v);
    return;
  }
  store<f32>(p, f32x4.extract_lane(v, 0));
  if (count > 1) store<f32>(p + 4, f32x4.extract_lane(v, 1));
  if (count > 2) store<f32>(p + 8, f32x4.extract_lane(v, 2));
}

/** `count` (1 to 4) lanes from memory, the others 0. */
@inline
export function loadLanes(p: usize, count: i32): v128 {
  if (count >= 4) return v128.load(p);
  let v = v128.load32_zero(p);
  if (count > 1) v = f32x4.replace_lane(v, 1, load<f32>(p + 4));
  if (count > 2) v = f32x4.replace_lane(v, 2, load<f32>(p + 8));
  return v;
}

// One input row against one block of 32 columns of some weight rows: outputs[r] += Σ over the block. Four weight rows at a
// time; after the last the loops read, and write to outputs, up to three rows further, which callers have room for.
// Every format sums in one order whether its weights come packed or unpacked, so both give the same bits.
import { F16, Q4, Q_SCALE, Q_SUM } from './expert-input';
import { HALF_REBIAS, laneSumsF32, laneSumsI32, madd, tinyOfHalves } from './simd';

/** f16: four column blocks of 8, [rows][16 B] each. A missing one at the end of a row is any other one: its inputs are zero. */
export function addF16(p0: usize, p1: usize, p2: usize, p3: usize, input: usize, outputs: usize, rows: i32): void {
  const x0 = v128.load(input);
  const x1 = v128.load(input, 16);
  const x2 = v128.load(input, 32);
  const x3 = v128.load(input, 48);
  const x4 = v128.load(input, 64);
  const x5 = v128.load(input, 80);
  const x6 = v128.load(input, 96);
  const x7 = v128.load(input, 112);
  const bytes = <usize>rows << 4;
  for (let r: usize = 0; r < bytes; r += 64) {
    const a = dotF16(p0 + r, p1 + r, p2 + r, p3 + r, x0, x1, x2, x3, x4, x5, x6, x7);
    const b = dotF16(p0 + r + 16, p1 + r + 16, p2 + r + 16, p3 + r + 16, x0, x1, x2, x3, x4, x5, x6, x7);
    const c = dotF16(p0 + r + 32, p1 + r + 32, p2 + r + 32, p3 + r + 32, x0, x1, x2, x3, x4, x5, x6, x7);
    const d = dotF16(p0 + r + 48, p1 + r + 48, p2 + r + 48, p3 + r + 48, x0, x1, x2, x3, x4, x5, x6, x7);
    const out = outputs + (r >> 2);
    v128.store(out, f32x4.add(v128.load(out), laneSumsF32(a, b, c, d)));
  }
}

// @ts-ignore: decorator
@inline
function dotF16(
  p0: usize, p1: usize, p2: usize, p3: usize,
  x0: v128, x1: v128, x2: v128, x3: v128, x4: v128, x5: v128, x6: v128, x7: v128,
): v128 {
  let even = f32x4.mul(tinyOfHalves(v128.load_ext<i16>(p0)), x0);
  let odd = f32x4.mul(tinyOfHalves(v128.load_ext<i16>(p0, 8)), x1);
  even = madd(tinyOfHalves(v128.load_ext<i16>(p1)), x2, even);
  odd = madd(tinyOfHalves(v128.load_ext<i16>(p1, 8)), x3, odd);
  even = madd(tinyOfHalves(v128.load_ext<i16>(p2)), x4, even);
  odd = madd(tinyOfHalves(v128.load_ext<i16>(p2, 8)), x5, odd);
  even = madd(tinyOfHalves(v128.load_ext<i16>(p3)), x6, even);
  odd = madd(tinyOfHalves(v128.load_ext<i16>(p3, 8)), x7, odd);
  return f32x4.add(even, odd);
}

/** Weights to floats 2¹¹² too small, [rows][32]. */
export function unpackF16(p0: usize, p1: usize, p2: usize, p3: usize, floats: usize, rows: i32): void {
  const bytes = <usize>rows << 4;
  for (let r: usize = 0; r < bytes; r += 16) {
    const to = floats + (r << 3);
    v128.store(to, tinyOfHalves(v128.load_ext<i16>(p0 + r)));
    v128.store(to, tinyOfHalves(v128.load_ext<i16>(p0 + r, 8)), 16);
    v128.store(to, tinyOfHalves(v128.load_ext<i16>(p1 + r)), 32);
    v128.store(to, tinyOfHalves(v128.load_ext<i16>(p1 + r, 8)), 48);
    v128.store(to, tinyOfHalves(v128.load_ext<i16>(p2 + r)), 64);
    v128.store(to, tinyOfHalves(v128.load_ext<i16>(p2 + r, 8)), 80);
    v128.store(to, tinyOfHalves(v128.load_ext<i16>(p3 + r)), 96);
    v128.store(to, tinyOfHalves(v128.load_ext<i16>(p3 + r, 8)), 112);
  }
}

export function addFloats(floats: usize, input: usize, outputs: usize, rows: i32): void {
  const x0 = v128.load(input);
  const x1 = v128.load(input, 16);
  const x2 = v128.load(input, 32);
  const x3 = v128.load(input, 48);
  const x4 = v128.load(input, 64);
  const x5 = v128.load(input, 80);
  const x6 = v128.load(input, 96);
  const x7 = v128.load(input, 112);
  const bytes = <usize>rows << 7;
  for (let r: usize = 0; r < bytes; r += 512) {
    const a = dotFloats(floats + r, x0, x1, x2, x3, x4, x5, x6, x7);
    const b = dotFloats(floats + r + 128, x0, x1, x2, x3, x4, x5, x6, x7);
    const c = dotFloats(floats + r + 256, x0, x1, x2, x3, x4, x5, x6, x7);
    const d = dotFloats(floats + r + 384, x0, x1, x2, x3, x4, x5, x6, x7);
    const out = outputs + (r >> 5);
    v128.store(out, f32x4.add(v128.load(out), laneSumsF32(a, b, c, d)));
  }
}

// @ts-ignore: decorator
@inline
function dotFloats(w: usize, x0: v128, x1: v128, x2: v128, x3: v128, x4: v128, x5: v128, x6: v128, x7: v128): v128 {
  let even = f32x4.mul(v128.load(w), x0);
  let odd = f32x4.mul(v128.load(w, 16), x1);
  even = madd(v128.load(w, 32), x2, even);
  odd = madd(v128.load(w, 48), x3, odd);
  even = madd(v128.load(w, 64), x4, even);
  odd = madd(v128.load(w, 80), x5, odd);
  even = madd(v128.load(w, 96), x6, even);
  odd = madd(v128.load(w, 112), x7, odd);
  return f32x4.add(even, odd);
}

/** outputs += sums × weight scales (four halves) × input scale. */
// @ts-ignore: decorator
@inline
function addScaled(out: usize, sums: v128, scales: usize, inputScale: v128): void {
  const weightScale = f32x4.mul(tinyOfHalves(v128.load_ext<i16>(scales)), f32x4.splat(HALF_REBIAS));
  v128.store(out, madd(f32x4.convert_i32x4_s(sums), f32x4.mul(weightScale, inputScale), v128.load(out)));
}

/** q8: columns 0–15 at `low`, 16–31 at `high`, [rows][16] int8 each. Sums are at most 32 × 127 × 32,767: exact in int32. */
export function addQ8(low: usize, high: usize, scales: usize, input: usize, outputs: usize, rows: i32): void {
  const x0 = v128.load(input);
  const x1 = v128.load(input, 16);
  const x2 = v128.load(input, 32);
  const x3 = v128.load(input, 48);
  const inputScale = v128.load_splat<f32>(input, Q_SCALE);
  const bytes = <usize>rows << 4;
  for (let r: usize = 0; r < bytes; r += 64) {
    const a = dotI8(low + r, high + r, x0, x1, x2, x3);
    const b = dotI8(low + r + 16, high + r + 16, x0, x1, x2, x3);
    const c = dotI8(low + r + 32, high + r + 32, x0, x1, x2, x3);
    const d = dotI8(low + r + 48, high + r + 48, x0, x1, x2, x3);
    addScaled(outputs + (r >> 2), laneSumsI32(a, b, c, d), scales + (r >> 3), inputScale);
  }
}

// @ts-ignore: decorator
@inline
function dotI8(low: usize, high: usize, x0: v128, x1: v128, x2: v128, x3: v128): v128 {
  const a = i32x4.add(
    i32x4.dot_i16x8_s(v128.load_ext<i8>(low), x0),
    i32x4.dot_i16x8_s(v128.load_ext<i8>(low, 8), x1),
  );
  const b = i32x4.add(
    i32x4.dot_i16x8_s(v128.load_ext<i8>(high), x2),
    i32x4.dot_i16x8_s(v128.load_ext<i8>(high, 8), x3),
  );
  return i32x4.add(a, b);
}

/** q4: nibbles n stand for n − 8; the eights are taken off by the input's sum, which leaves the same integer. */
export function addQ4(nibbles: usize, scales: usize, input: usize, outputs: usize, rows: i32): void {
  const x0 = v128.load(input);
  const x1 = v128.load(input, 16);
  const x2 = v128.load(input, 32);
  const x3 = v128.load(input, 48);
  const inputScale = v128.load_splat<f32>(input, Q_SCALE);
  const eights = v128.load_splat<i32>(input, Q_SUM);
  const bytes = <usize>rows << 4;
  for (let r: usize = 0; r < bytes; r += 64) {
    const a = dotNibbles(nibbles + r, x0, x1, x2, x3);
    const b = dotNibbles(nibbles + r + 16, x0, x1, x2, x3);
    const c = dotNibbles(nibbles + r + 32, x0, x1, x2, x3);
    const d = dotNibbles(nibbles + r + 48, x0, x1, x2, x3);
    const sums = i32x4.sub(laneSumsI32(a, b, c, d), eights);
    addScaled(outputs + (r >> 2), sums, scales + (r >> 3), inputScale);
  }
}

// @ts-ignore: decorator
@inline
function dotNibbles(nibbles: usize, x0: v128, x1: v128, x2: v128, x3: v128): v128 {
  const packed = v128.load(nibbles);
  const low = v128.and(packed, i8x16.splat(15));
  const high = v128.and(i16x8.shr_u(packed, 4), i8x16.splat(15));
  const a = i32x4.add(
    i32x4.dot_i16x8_s(i16x8.extend_low_i8x16_u(low), x0),
    i32x4.dot_i16x8_s(i16x8.extend_high_i8x16_u(low), x1),
  );
  const b = i32x4.add(
    i32x4.dot_i16x8_s(i16x8.extend_low_i8x16_u(high), x2),
    i32x4.dot_i16x8_s(i16x8.extend_high_i8x16_u(high), x3),
  );
  return i32x4.add(a, b);
}

/** q8 to int16, [rows][32]. */
export function unpackQ8(low: usize, high: usize, shorts: usize, rows: i32): void {
  const bytes = <usize>rows << 4;
  for (let r: usize = 0; r < bytes; r += 16) {
    const to = shorts + (r << 2);
    v128.store(to, v128.load_ext<i8>(low + r));
    v128.store(to, v128.load_ext<i8>(low + r, 8), 16);
    v128.store(to, v128.load_ext<i8>(high + r), 32);
    v128.store(to, v128.load_ext<i8>(high + r, 8), 48);
  }
}

/** q4 to int16, [rows][32], without the eights. */
export function unpackQ4(nibbles: usize, shorts: usize, rows: i32): void {
  const eight = i16x8.splat(8);
  const bytes = <usize>rows << 4;
  for (let r: usize = 0; r < bytes; r += 16) {
    const to = shorts + (r << 2);
    const packed = v128.load(nibbles + r);
    const low = v128.and(packed, i8x16.splat(15));
    const high = v128.and(i16x8.shr_u(packed, 4), i8x16.splat(15));
    v128.store(to, i16x8.sub(i16x8.extend_low_i8x16_u(low), eight));
    v128.store(to, i16x8.sub(i16x8.extend_high_i8x16_u(low), eight), 16);
    v128.store(to, i16x8.sub(i16x8.extend_low_i8x16_u(high), eight), 32);
    v128.store(to, i16x8.sub(i16x8.extend_high_i8x16_u(high), eight), 48);
  }
}

export function addShorts(shorts: usize, scales: usize, input: usize, outputs: usize, rows: i32): void {
  const x0 = v128.load(input);
  const x1 = v128.load(input, 16);
  const x2 = v128.load(input, 32);
  const x3 = v128.load(input, 48);
  const inputScale = v128.load_splat<f32>(input, Q_SCALE);
  const bytes = <usize>rows << 6;
  for (let r: usize = 0; r < bytes; r += 256) {
    const a = dotShorts(shorts + r, x0, x1, x2, x3);
    const b = dotShorts(shorts + r + 64, x0, x1, x2, x3);
    const c = dotShorts(shorts + r + 128, x0, x1, x2, x3);
    const d = dotShorts(shorts + r + 192, x0, x1, x2, x3);
    addScaled(outputs + (r >> 4), laneSumsI32(a, b, c, d), scales + (r >> 5), inputScale);
  }
}

// @ts-ignore: decorator
@inline
function dotShorts(w: usize, x0: v128, x1: v128, x2: v128, x3: v128): v128 {
  const a = i32x4.add(i32x4.dot_i16x8_s(v128.load(w), x0), i32x4.dot_i16x8_s(v128.load(w, 16), x1));
  const b = i32x4.add(i32x4.dot_i16x8_s(v128.load(w, 32), x2), i32x4.dot_i16x8_s(v128.load(w, 48), x3));
  return i32x4.add(a, b);
}

/** Σ w² of a matrix as packed: what bounds the norm of an honest answer. */
export function sumOfSquares(format: i32, values: usize, scales: usize, rows: i32, colBlocks: i32): f64 {
  let total: f64 = 0;
  for (let b: usize = 0; b < <usize>colBlocks; b++) {
    for (let r: usize = 0; r < <usize>rows; r++) {
      const at = b * <usize>rows + r;
      if (format == F16) {
        const p = values + (at << 4);
        const low = f32x4.mul(tinyOfHalves(v128.load_ext<i16>(p)), f32x4.splat(HALF_REBIAS));
        const high = f32x4.mul(tinyOfHalves(v128.load_ext<i16>(p, 8)), f32x4.splat(HALF_REBIAS));
        const sums = f32x4.add(f32x4.mul(low, low), f32x4.mul(high, high));
        const sum = laneSumsF32(sums, sums, sums, sums);
        total += <f64>f32x4.extract_lane(sum, 0);
        continue;
      }
      let low: v128;
      let high: v128;
      if (format == Q4) {
        const packed = v128.load(values + (at << 4));
        low = i8x16.sub(v128.and(packed, i8x16.splat(15)), i8x16.splat(8));
        high = i8x16.sub(v128.and(i16x8.shr_u(packed, 4), i8x16.splat(15)), i8x16.splat(8));
      } else {
        const first = values + ((2 * b * <usize>rows + r) << 4);
        low = v128.load(first);
        high = v128.load(first + (<usize>rows << 4));
      }
      const sums = i32x4.add(squaresI8(low), squaresI8(high));
      const sum = i32x4.extract_lane(laneSumsI32(sums, sums, sums, sums), 0);
      const half = i32x4.splat(<i32>load<i16>(scales + (at << 1)));
      const scale = <f64>f32x4.extract_lane(f32x4.mul(tinyOfHalves(half), f32x4.splat(HALF_REBIAS)), 0);
      total += <f64>sum * scale * scale;
    }
  }
  return total;
}

// @ts-ignore: decorator
@inline
function squaresI8(values: v128): v128 {
  const low = i16x8.extend_low_i8x16_s(values);
  const high = i16x8.extend_high_i8x16_s(values);
  return i32x4.add(i32x4.dot_i16x8_s(low, low), i32x4.dot_i16x8_s(high, high));
}

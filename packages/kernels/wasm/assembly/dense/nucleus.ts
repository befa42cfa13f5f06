// Cumulative sums over tokens in descending order of their logits, ties by index, without sorting: the token at a sum is found by
// radix, from the weight of each bucket of logits. One pass over the row and two over one bucket's tokens: O(vocab).
import { exp2Lanes, expOf } from './exp';

/** Buckets of a digit. A logit's 32 bits have digits of 11, 11 and 10 bits, from the highest. */
const BUCKETS: i32 = 2048;
const TOP_SHIFT: u32 = 21;
const MIDDLE_SHIFT: u32 = 10;
const MIDDLE_MASK: u32 = 0x7ff;
const LOW_MASK: u32 = 0x3ff;
/** A bucket holds the sum of its weights and the count of its tokens, both f64. */
const BUCKET_BYTES: usize = 16;
export const HISTOGRAM_BYTES: usize = <usize>BUCKETS * BUCKET_BYTES;

/** Which cumulative sum is looked up. */
export const MASS: i32 = 0;
export const COUNT: i32 = 1;

/** The row that this thread's instance is processing. */
let logits: usize = 0;
let top: f64 = 0;
let sharpness: f64 = 0;
/** Histograms of the row by the highest digit and of the digits below, then room for a bucket's tokens [vocab]. */
let buckets: usize = 0;
let below: usize = 0;
let members: usize = 0;
let vocab: i32 = 0;

/** The result of `find`: the token, and mass and count of all tokens up to it. */
let found: i32 = 0;
let upTo: v128 = i64x2.splat(0);

@inline
export function foundToken(): i32 {
  return found;
}

@inline
export function foundMass(): f64 {
  return f64x2.extract_lane(upTo, 0);
}

/** Bits in the same order as the logits; -0 counts as 0. */
@inline
function keyOf(token: i32): u32 {
  const bits = reinterpret<u32>(load<f32>(logits + ((<usize>token) << 2)) + 0);
  return bits ^ (<u32>((<i32>bits) >> 31) | 0x80000000);
}

@inline
function weightOf(token: i32): f64 {
  return expOf((<f64>load<f32>(logits + ((<usize>token) << 2)) - top) * sharpness);
}

@inline
function add(histogram: usize, bucket: u32, weight: f64): void {
  const at = histogram + <usize>bucket * BUCKET_BYTES;
  v128.store(at, f64x2.add(v128.load(at), f64x2.replace_lane(f64x2.splat(1), 0, weight)));
}

/**
 * Prepares a row [count, padded to a multiple of 4 with -∞] with the largest logit `largest`. A token's weight is
 * e^((logit − largest) × inverse temperature). `scratch`: two histograms and a word for each token. Returns the sum of weights.
 */
export function weighTokens(row: usize, count: i32, largest: f32, inverse: f64, scratch: usize): f64 {
  logits = row;
  vocab = count;
  top = <f64>largest;
  sharpness = inverse;
  buckets = scratch;
  below = scratch + HISTOGRAM_BYTES;
  members = below + HISTOGRAM_BYTES;
  memory.fill(buckets, 0, HISTOGRAM_BYTES);
  const max = f64x2.splat(top);
  const factor = f64x2.splat(sharpness);
  for (let i = 0; i < count; i += 4) {
    const v = v128.load(row + ((<usize>i) << 2));
    const a = exp2Lanes(f64x2.mul(f64x2.sub(f64x2.promote_low_f32x4(v), max), factor));
    const high = v128.shuffle<i32>(v, v, 2, 3, 2, 3);
    const b = exp2Lanes(f64x2.mul(f64x2.sub(f64x2.promote_low_f32x4(high), max), factor));
    const bits = f32x4.add(v, f32x4.splat(0));
    const keys = v128.xor(bits, v128.or(i32x4.shr_s(bits, 31), i32x4.splat(0x80000000)));
    const digits = i32x4.shr_u(keys, TOP_SHIFT);
    add(buckets, i32x4.extract_lane(digits, 0), f64x2.extract_lane(a, 0));
    add(buckets, i32x4.extract_lane(digits, 1), f64x2.extract_lane(a, 1));
    add(buckets, i32x4.extract_lane(digits, 2), f64x2.extract_lane(b, 0));
    add(buckets, i32x4.extract_lane(digits, 3), f64x2.extract_lane(b, 1));
  }
  let sum: f64 = 0;
  for (let b = BUCKETS - 1; b >= 0; b--) sum += load<f64>(buckets + <usize>b * BUCKET_BYTES);
  return sum;
}

/** Whether a cumulative sum has reached `need`, or exceeded it if `beyond` is set. */
@inline
function isEnough(sums: v128, by: i32, need: f64, beyond: bool): bool {
  const sum = by == MASS ? f64x2.extract_lane(sums, 0) : f64x2.extract_lane(sums, 1);
  return beyond ? sum > need : sum >= need;
}

/** The bucket in which the cumulative sum is enough, or else the last with a weight. `upTo` becomes the sum of those above it. */
function bucketFor(histogram: usize, by: i32, need: f64, beyond: bool): i32 {
  let last = 0;
  let above = upTo;
  for (let b = BUCKETS - 1; b >= 0; b--) {
    const held = v128.load(histogram + <usize>b * BUCKET_BYTES);
    if (f64x2.extract_lane(held, 0) == 0) continue;
    last = b;
    above = upTo;
    const sums = f64x2.add(upTo, held);
    if (isEnough(sums, by, need, beyond)) return b;
    upTo = sums;
  }
  // Rounding left the sum slightly too small.
  upTo = above;
  return last;
}

/** Finds the first token in descending order at which the cumulative mass (or count) is enough: `foundToken`, `foundMass`. */
export function find(by: i32, need: f64, beyond: bool): void {
  upTo = i64x2.splat(0);
  let digit = <u32>bucketFor(buckets, by, need, beyond);
  let count = 0;
  for (let i = 0; i < vocab; i++) {
    if (keyOf(i) >> TOP_SHIFT != digit) continue;
    store<i32>(members + ((<usize>(count++)) << 2), i);
  }
  count = narrow(count, MIDDLE_SHIFT, MIDDLE_MASK, by, need, beyond);
  count = narrow(count, 0, LOW_MASK, by, need, beyond);
  // The remaining tokens have equal logits.
  const weight = f64x2.replace_lane(f64x2.splat(1), 0, weightOf(load<i32>(members)));
  for (let i = 0; i < count; i++) {
    upTo = f64x2.add(upTo, weight);
    found = load<i32>(members + ((<usize>i) << 2));
    if (isEnough(upTo, by, need, beyond)) return;
  }
}

/** Keeps those of `count` members that are in the next digit's bucket, and returns their number. */
function narrow(count: i32, shift: u32, mask: u32, by: i32, need: f64, beyond: bool): i32 {
  memory.fill(below, 0, HISTOGRAM_BYTES);
  for (let i = 0; i < count; i++) {
    const token = load<i32>(members + ((<usize>i) << 2));
    add(below, (keyOf(token) >> shift) & mask, weightOf(token));
  }
  const digit = <u32>bucketFor(below, by, need, beyond);
  let kept = 0;
  for (let i = 0; i < count; i++) {
    const token = load<i32>(members + ((<usize>i) << 2));
    if (((keyOf(token) >> shift) & mask) == digit) store<i32>(members + ((<usize>(kept++)) << 2), token);
  }
  return kept;
}

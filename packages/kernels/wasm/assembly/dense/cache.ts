// The paged 16-bit KV cache. A page holds POSITIONS consecutive positions of one sequence for every layer of its bank; a page
// table lists the pages' addresses. A layer has [position][width] f16, then [position][2] bytes: the exponents of the first and
// of the second part (keys and values, or latent and rotated key). A value is f16 × 2^exponent. The exponent is 0 unless the
// part exceeds f16, as massive activations do.
import { loadHalves, storeLanes, loadLanes, toHalves } from './primitives';

/** Positions of a page and of a block of attention. */
export const POSITIONS: i32 = 16;

/** Address of a position in a layer at `layerOffset` in the page, with `width` f16 per position. */
@inline
export function positionAt(table: usize, layerOffset: usize, width: i32, position: i32): usize {
  const page = <usize>load<u32>(table + ((<usize>(position >> 4)) << 2));
  return page + layerOffset + ((<usize>((position & 15) * width)) << 1);
}

/** Address of the two exponents of a position that `positionAt` finds. */
@inline
export function exponentsAt(table: usize, layerOffset: usize, width: i32, position: i32): usize {
  const page = <usize>load<u32>(table + ((<usize>(position >> 4)) << 2));
  return page + layerOffset + ((<usize>(POSITIONS * width)) << 1) + ((<usize>(position & 15)) << 1);
}

/** The smallest exponent with which `dim` f32 are finite in f16; 0 if one of them is ±∞ or NaN. */
function exponentOf(x: usize, dim: i32): i32 {
  let largest = i32x4.splat(0);
  for (let i = 0; i < dim; i += 4) {
    const magnitude = v128.and(loadLanes(x + ((<usize>i) << 2), dim - i), i32x4.splat(0x7fffffff));
    largest = i32x4.max_u(largest, magnitude);
  }
  const bits = max(
    max(i32x4.extract_lane(largest, 0), i32x4.extract_lane(largest, 1)),
    max(i32x4.extract_lane(largest, 2), i32x4.extract_lane(largest, 3)),
  );
  // 65,520 = 0x477ff000 and what lies above it in its binade are rounded to ∞.
  if (bits < 0x477ff000 || bits >= 0x7f800000) return 0;
  return (bits >> 23) - 142 + i32((bits & 0x7fffff) >= 0x7ff000);
}

/** Multiplies `dim` f32 by 2^exponent. */
export function scaleBy(x: usize, dim: i32, exponent: i32, out: usize): void {
  const factor = f32x4.splat(reinterpret<f32>((127 + exponent) << 23));
  for (let i = 0; i < dim; i += 4) {
    const at = (<usize>i) << 2;
    storeLanes(out + at, f32x4.mul(loadLanes(x + at, dim - i), factor), dim - i);
  }
}

/** Encodes `dim` f32 as f16 and an exponent (u8). Values beyond f16 are scaled in place. */
export function encodePart(x: usize, dim: i32, out: usize, exponentOut: usize): void {
  const exponent = exponentOf(x, dim);
  store<u8>(exponentOut, <u8>exponent);
  if (exponent > 0) scaleBy(x, dim, -exponent, x);
  encodeHalves(x, dim, out);
}

/** Decodes what `encodePart` wrote to f32. */
export function decodePart(h: usize, dim: i32, exponentAt: usize, out: usize): void {
  decodeHalves(h, dim, out);
  const exponent = <i32>load<u8>(exponentAt);
  if (exponent > 0) scaleBy(out, dim, exponent, out);
}

/** Encodes `dim` f32 as f16. */
export function encodeHalves(x: usize, dim: i32, out: usize): void {
  for (let i = 0; i < dim; i += 4) {
    const left = dim - i;
    const h = toHalves(loadLanes(x + ((<usize>i) << 2), left));
    const to = out + ((<usize>i) << 1);
    store<u16>(to, <u16>i32x4.extract_lane(h, 0));
    if (left > 1) store<u16>(to + 2, <u16>i32x4.extract_lane(h, 1));
    if (left > 2) store<u16>(to + 4, <u16>i32x4.extract_lane(h, 2));
    if (left > 3) store<u16>(to + 6, <u16>i32x4.extract_lane(h, 3));
  }
}

/** Decodes `dim` f16 to f32. Reads no byte behind the last value. */
export function decodeHalves(h: usize, dim: i32, out: usize): void {
  let i = 0;
  for (; i + 3 < dim; i += 4) v128.store(out + ((<usize>i) << 2), loadHalves(h + ((<usize>i) << 1)));
  if (i == dim) return;
  const from = h + ((<usize>i) << 1);
  let bits: u64 = <u64>load<u16>(from);
  if (dim - i > 1) bits |= (<u64>load<u16>(from + 2)) << 16;
  if (dim - i > 2) bits |= (<u64>load<u16>(from + 4)) << 32;
  const to = out + ((<usize>i) << 2);
  store<u64>(to, bits);
  storeLanes(to, loadHalves(to), dim - i);
}

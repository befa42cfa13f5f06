// The paged 16-bit KV cache. A page holds POSITIONS consecutive positions of one sequence for every layer of its bank,
// [layer][position][width]; a page table lists the pages' addresses.
import { loadHalves, storeLanes, loadLanes, toHalves } from './primitives';

/** Positions of a page and of a block of attention. */
export const POSITIONS: i32 = 16;

/** Address of a position in a layer at `layerOffset` in the page, with `width` f16 per position. */
@inline
export function positionAt(table: usize, layerOffset: usize, width: i32, position: i32): usize {
  const page = <usize>load<u32>(table + ((<usize>(position >> 4)) << 2));
  return page + layerOffset + ((<usize>((position & 15) * width)) << 1);
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

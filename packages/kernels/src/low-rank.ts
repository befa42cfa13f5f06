import type { LowRank } from '@shoal/model';
import { alignUp } from '@shoal/weights';

const HEADER_WORDS = 4;
const pad4 = (dim: number): number => alignUp(dim, 4);

/** Bytes of a pair of matrices, as packages/kernels/wasm/assembly/dense/adapters.ts reads them. */
export function lowRankBytes({ rank, inDim, outDim }: LowRank): number {
  return alignUp(4 * (HEADER_WORDS + rank * (pad4(inDim) + pad4(outDim))));
}

/** Writes a pair at an address. */
export function writeLowRank(
  { i32, f32 }: { i32: Int32Array; f32: Float32Array },
  address: number,
  pair: LowRank,
): void {
  const { rank, inDim, outDim, a, b } = pair;
  const [columns, rows] = [pad4(inDim), pad4(outDim)];
  const at = address / 4;
  f32.fill(0, at, at + lowRankBytes(pair) / 4);
  i32.set([rank, columns, rows, 0], at);
  const toB = at + HEADER_WORDS + rank * columns;
  for (let k = 0; k < rank; k++) {
    f32.set(a.subarray(k * inDim, (k + 1) * inDim), at + HEADER_WORDS + k * columns);
    for (let o = 0; o < outDim; o++) f32[toB + k * rows + o] = b[o * rank + k]!;
  }
}

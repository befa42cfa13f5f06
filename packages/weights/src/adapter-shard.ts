import { type ExpertAdapter, type LowRank, MAX_ADAPTER_RANK } from '@shoal/model';
import { alignUp } from './dense/layout.ts';
import { WeightsError } from './errors.ts';
import type { ExpertShape, MatrixName } from './layout.ts';

/**
 * A low-rank shard is what an adapter adds to one routed expert, as bytes: little-endian words, of which the first three are the byte
 * offsets of the pairs of gate, up and down (0 where nothing is added), padded to 64 bytes. A pair is its rank, the columns of A, the
 * columns of Bᵀ (both dimensions padded to four), 0, then A [rank, columns] and Bᵀ [rank, columns] as float32, padded with zeros to
 * 64 bytes in all. The kernels compute with these bytes as they are.
 *
 * Values stay float32, although adapters are mostly trained in 16 bits: B is multiplied by the adapter's scale, which f16 would
 * round again, and a tab must compute with the bits that the coordinator computes with.
 */
const HEADER_BYTES = alignUp(12);
const PAIR_HEADER_WORDS = 4;
const PARTS: readonly MatrixName[] = ['gate', 'up', 'down'];
const pad4 = (dim: number): number => alignUp(dim, 4);

/** Memory in words, as WebAssembly has it. */
export interface Words {
  i32: Int32Array;
  f32: Float32Array;
}

/** Bytes of a pair of matrices. */
export function lowRankBytes({ rank, inDim, outDim }: Pick<LowRank, 'rank' | 'inDim' | 'outDim'>): number {
  return alignUp(4 * (PAIR_HEADER_WORDS + rank * (pad4(inDim) + pad4(outDim))));
}

/** Writes a pair at an address. */
export function writeLowRank({ i32, f32 }: Words, address: number, pair: LowRank): void {
  const { rank, inDim, outDim, a, b } = pair;
  const [columns, rows] = [pad4(inDim), pad4(outDim)];
  const at = address / 4;
  f32.fill(0, at, at + lowRankBytes(pair) / 4);
  i32.set([rank, columns, rows, 0], at);
  const toB = at + PAIR_HEADER_WORDS + rank * columns;
  for (let k = 0; k < rank; k++) {
    f32.set(a.subarray(k * inDim, (k + 1) * inDim), at + PAIR_HEADER_WORDS + k * columns);
    for (let o = 0; o < outDim; o++) f32[toB + k * rows + o] = b[o * rank + k]!;
  }
}

/** Bytes of an adapter's low-rank shard. */
export function adapterShardBytes(adapter: ExpertAdapter): number {
  return PARTS.reduce((sum, part) => sum + (adapter[part] ? lowRankBytes(adapter[part]) : 0), HEADER_BYTES);
}

/** Writes a low-rank shard at an address. */
export function writeAdapterShard(words: Words, address: number, adapter: ExpertAdapter): void {
  words.i32.fill(0, address / 4, (address + HEADER_BYTES) / 4);
  let offset = HEADER_BYTES;
  for (const [i, part] of PARTS.entries()) {
    const pair = adapter[part];
    if (!pair) continue;
    words.i32[address / 4 + i] = offset;
    writeLowRank(words, address + offset, pair);
    offset += lowRankBytes(pair);
  }
}

export function packAdapter(adapter: ExpertAdapter): Uint8Array<ArrayBuffer> {
  const buffer = new ArrayBuffer(adapterShardBytes(adapter));
  writeAdapterShard({ i32: new Int32Array(buffer), f32: new Float32Array(buffer) }, 0, adapter);
  return new Uint8Array(buffer);
}

/** The largest low-rank shard of an expert of this shape. */
export function maxAdapterShardBytes({ hiddenSize, moeIntermediateSize }: ExpertShape): number {
  const wide = { rank: MAX_ADAPTER_RANK, inDim: hiddenSize, outDim: moeIntermediateSize };
  return HEADER_BYTES + 3 * lowRankBytes(wide);
}

/**
 * Reads a low-rank shard of an expert of this shape. Throws WeightsError `bad-shard` for bytes that `packAdapter` would not have
 * written, and for values that are not finite: a kernel reads them without checks of its own.
 */
export function unpackAdapter(shape: ExpertShape, bytes: Uint8Array): ExpertAdapter {
  // A copy where the bytes are not aligned.
  const aligned = bytes.byteOffset % 4 === 0 ? bytes : bytes.slice();
  if (bytes.byteLength % 4 !== 0 || bytes.byteLength < HEADER_BYTES) throw bad(`it has ${bytes.byteLength} bytes`);
  const length = bytes.byteLength / 4;
  const i32 = new Int32Array(aligned.buffer, aligned.byteOffset, length);
  const f32 = new Float32Array(aligned.buffer, aligned.byteOffset, length);
  const pairs: { -readonly [Part in MatrixName]?: LowRank } = {};
  let end = HEADER_BYTES;
  for (const [i, part] of PARTS.entries()) {
    if (i32[i] === 0) continue;
    if (i32[i] !== end) throw bad(`its ${part} begins at byte ${i32[i]} instead of ${end}`);
    const pair = readPair(shape, part, { i32, f32 }, end);
    pairs[part] = pair;
    end += lowRankBytes(pair);
  }
  if (end === HEADER_BYTES) throw bad('it adds nothing');
  if (end !== bytes.byteLength) throw bad(`it has ${bytes.byteLength} bytes instead of ${end}`);
  return pairs;
}

function readPair(shape: ExpertShape, part: MatrixName, { i32, f32 }: Words, offset: number): LowRank {
  const { hiddenSize: D, moeIntermediateSize: F } = shape;
  const [inDim, outDim] = part === 'down' ? [F, D] : [D, F];
  const [rank = 0, columns, rows] = i32.subarray(offset / 4, offset / 4 + PAIR_HEADER_WORDS);
  if (!(rank >= 1 && rank <= MAX_ADAPTER_RANK)) throw bad(`the rank of its ${part} is ${rank}`);
  if (columns !== pad4(inDim) || rows !== pad4(outDim)) throw bad(`its ${part} is not [${outDim}, ${inDim}]`);
  if (offset + lowRankBytes({ rank, inDim, outDim }) > 4 * i32.length) throw bad(`its ${part} is cut off`);
  const first = offset / 4 + PAIR_HEADER_WORDS;
  const matrix = (from: number, width: number, dim: number): Float32Array => {
    const values = new Float32Array(rank * dim);
    for (let k = 0; k < rank; k++) {
      values.set(f32.subarray(from + k * width, from + k * width + dim), k * dim);
      for (let i = dim; i < width; i++)
        if (f32[from + k * width + i] !== 0) throw bad(`its ${part} is not padded with 0`);
    }
    if (!values.every(Number.isFinite)) throw bad(`its ${part} has NaN or ∞`);
    return values;
  };
  const a = matrix(first, columns, inDim);
  const transposed = matrix(first + rank * columns, rows, outDim);
  const b = new Float32Array(outDim * rank);
  for (let k = 0; k < rank; k++) for (let o = 0; o < outDim; o++) b[o * rank + k] = transposed[k * outDim + o]!;
  return { rank, inDim, outDim, a, b };
}

function bad(problem: string): WeightsError {
  return new WeightsError('bad-shard', `This is no low-rank shard of the model: ${problem}`);
}

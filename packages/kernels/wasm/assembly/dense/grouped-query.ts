// The operations of grouped-query attention: their arguments, and what one of their tasks does (see operations.ts).
import { at, pad4, place, real, slotOf, tile, word } from './arguments';
import { attendBlock, closeState, openState, openStateWithSink, stateBytes, stateValues } from './attention';
import { decodePart, encodePart, exponentsAt, POSITIONS, positionAt } from './cache';
import { addRow, clipRow, rmsNormRow, ropeRow, scaleRow } from './rows';

const enum Norm {
  NONE,
  PER_HEAD,
  WHOLE,
}

/**
 * Adds the biases to a row's queries, keys and values, normalises, clips and rotates each head of queries and keys, multiplies
 * the queries by the row's temperature, and writes [k | v] into the cache.
 * 4 rows, 5 q, 6 stride, 7 k, 8 stride, 9 v, 10 stride, 11 heads, 12 kvHeads, 13 headDim, 14 norm, 15 q gain (0: all 1),
 * 16 k gain, 17 eps, 18 clip (0: none), 19 ropeDim (0: no RoPE), 20 interleaved, 21 layer offset, 22 whether RoPE comes before
 * the norm, 23 q bias (0: none), 24 k bias, 25 v bias, 26 temperatures (0: none). A task is a row.
 */
export function keyValueTask(op: usize, task: i32): void {
  const row = <usize>task;
  const rows = at(op, 4);
  const heads = word(op, 11);
  const kvHeads = word(op, 12);
  const headDim = word(op, 13);
  const q = at(op, 5) + row * at(op, 6);
  const k = at(op, 7) + row * at(op, 8);
  const v = at(op, 9) + row * at(op, 10);
  const width = kvHeads * headDim;
  if (at(op, 23)) addRow(q, at(op, 23), heads * headDim, 1);
  if (at(op, 24)) addRow(k, at(op, 24), width, 1);
  if (at(op, 25)) addRow(v, at(op, 25), width, 1);
  if (real(op, 18) > 0) clipRow(v, width, real(op, 18));
  positionHeads(op, task, q, heads, at(op, 15));
  positionHeads(op, task, k, kvHeads, at(op, 16));
  if (at(op, 26)) scaleRow(q, heads * headDim, load<f32>(at(op, 26) + (row << 2)));
  const slot = <i32>place(rows, task, 4);
  const to = positionAt(place(rows, task, 1), at(op, 21), 2 * width, slot);
  const exponents = exponentsAt(place(rows, task, 1), at(op, 21), 2 * width, slot);
  encodePart(k, width, to, exponents);
  encodePart(v, width, to + ((<usize>width) << 1), exponents + 1);
}

/** Normalises, clips and rotates heads of queries or keys. */
function positionHeads(op: usize, task: i32, x: usize, heads: i32, gain: usize): void {
  const isRotatedFirst = word(op, 22);
  if (isRotatedFirst) rotateHeads(op, task, x, heads);
  normHeads(op, x, heads, gain);
  if (real(op, 18) > 0) clipRow(x, heads * word(op, 13), real(op, 18));
  if (!isRotatedFirst) rotateHeads(op, task, x, heads);
}

@inline
function rotateHeads(op: usize, task: i32, x: usize, heads: i32): void {
  const cos = place(at(op, 4), task, 2);
  const sin = place(at(op, 4), task, 3);
  const headDim = word(op, 13);
  for (let h = 0; h < heads; h++) ropeRow(x + ((<usize>(h * headDim)) << 2), word(op, 19), cos, sin, word(op, 20));
}

@inline
function normHeads(op: usize, x: usize, heads: i32, gain: usize): void {
  const headDim = word(op, 13);
  const eps = real(op, 17);
  if (word(op, 14) == Norm.NONE) return;
  if (word(op, 14) == Norm.WHOLE) {
    rmsNormRow(x, gain, heads * headDim, eps, x);
    return;
  }
  for (let h = 0; h < heads; h++) {
    const head = x + ((<usize>(h * headDim)) << 2);
    rmsNormRow(head, gain, headDim, eps, head);
  }
}

/** The first position that row `r` at `position` attends to. */
@inline
function firstVisible(op: usize, r: i32, position: i32): i32 {
  if (at(op, 18)) return load<i32>(at(op, 18) + ((<usize>r) << 2));
  const window = word(op, 16);
  const chunk = word(op, 17);
  if (window) return max(0, position - window + 1);
  return chunk ? position - (position % chunk) : 0;
}

/**
 * Grouped-query attention of some query heads (all of one key head) of some rows. Blocks before the first position that a row of
 * the tile attends to are not read.
 * 4 rows, 5 tasks, 6 q, 7 stride, 8 headDim, 9 kvHeads, 10 query heads a key head, 11 scale, 12 layer offset, 13 out, 14 stride,
 * 15 sinks, one per head (0: none), 16 positions of a window (0: no window), 17 positions of a chunk (0: no chunks),
 * 18 the first position of each row (0: by window or chunk), 19 biases by distance (0: none), 20 the distance from which on they are
 * the same.
 */
export function groupedAttentionTask(op: usize, task: i32, scratch: usize): void {
  const rows = at(op, 4);
  const firstRow = tile(at(op, 5), task, 0);
  const numRows = tile(at(op, 5), task, 1);
  const firstHead = tile(at(op, 5), task, 2);
  const numHeads = tile(at(op, 5), task, 3);
  const headDim = word(op, 8);
  const padded = pad4(headDim);
  const bytes = (<usize>padded) << 2;
  const state = stateBytes(padded);
  const numQueries = numRows * numHeads;
  // scratch: scores | biases | queries | states | block | block of one row, and room for three more positions, which attendBlock may
  // read
  const biases = at(op, 19) ? scratch + ((<usize>POSITIONS) << 2) : 0;
  const queries = scratch + ((<usize>(2 * POSITIONS)) << 2);
  const states = queries + <usize>numQueries * bytes;
  const block = states + <usize>numQueries * state;
  const ownBlock = block + <usize>POSITIONS * bytes * 2;

  memory.fill(queries, 0, <usize>numQueries * bytes);
  memory.fill(block, 0, <usize>POSITIONS * bytes * 2);
  let isOwnCleared = false;
  for (let i = 0; i < numQueries; i++) {
    const q = at(op, 6) + <usize>(firstRow + i / numHeads) * at(op, 7);
    const head = firstHead + (i % numHeads);
    memory.copy(queries + <usize>i * bytes, q + ((<usize>(head * headDim)) << 2), (<usize>headDim) << 2);
    if (at(op, 15)) openStateWithSink(states + <usize>i * state, padded, load<f32>(at(op, 15) + ((<usize>head) << 2)));
    else openState(states + <usize>i * state, padded);
  }
  let first = i32.MAX_VALUE;
  let last = 0;
  let shared = 0;
  let sharing = firstRow;
  for (let r = firstRow; r < firstRow + numRows; r++) {
    const position = <i32>place(rows, r, 0);
    first = min(first, firstVisible(op, r, position));
    last = max(last, position);
    if (<i32>place(rows, r, 5) > shared) {
      shared = <i32>place(rows, r, 5);
      sharing = r;
    }
  }
  let hidden = first & (POSITIONS - 1);
  for (let start = first - hidden; start <= last; start += POSITIONS) {
    decodeBlock(op, sharing, firstHead, start, hidden, min(POSITIONS, shared - start), block);
    hidden = 0;
    let decoded = -1;
    for (let i = 0; i < numQueries; i++) {
      const row = firstRow + i / numHeads;
      const position = <i32>place(rows, row, 0);
      const from = max(0, firstVisible(op, row, position) - start);
      const count = min(POSITIONS, position + 1 - start) - from;
      if (count <= 0) continue;
      let keys = block;
      if (start + from + count > <i32>place(rows, row, 5)) {
        // Some of its positions lie elsewhere: the same block, of this row alone.
        keys = ownBlock;
        if (!isOwnCleared) memory.fill(ownBlock, 0, <usize>POSITIONS * bytes * 2);
        isOwnCleared = true;
        if (decoded != row) decodeBlock(op, row, firstHead, start, from, from + count, ownBlock);
        decoded = row;
      }
      keys += <usize>(2 * from) * bytes;
      if (biases) distanceBiases(op, firstHead + (i % numHeads), start + from - <i32>place(rows, row, 4), biases);
      attendBlock(
        queries + <usize>i * bytes,
        padded,
        padded,
        keys,
        keys + bytes,
        2 * bytes,
        count,
        real(op, 11),
        states + <usize>i * state,
        scratch,
        biases,
      );
    }
  }
  for (let i = 0; i < numQueries; i++) {
    closeState(states + <usize>i * state, padded);
    const out = at(op, 13) + <usize>(firstRow + i / numHeads) * at(op, 14);
    const head = firstHead + (i % numHeads);
    memory.copy(
      out + ((<usize>(head * headDim)) << 2),
      stateValues(states + <usize>i * state),
      (<usize>headDim) << 2,
    );
  }
}

/**
 * A head's biases of POSITIONS keys, the first of which lies `distance` behind the query's own slot (before it if negative). The
 * table is [heads][2 × reach + 1], from distance −reach to reach, beyond which they stay the same.
 */
@inline
function distanceBiases(op: usize, head: i32, distance: i32, out: usize): void {
  const reach = word(op, 20);
  const zero = at(op, 19) + ((<usize>(head * (2 * reach + 1) + reach)) << 2);
  for (let t = 0; t < POSITIONS; t++) {
    const clipped = max(-reach, min(reach, distance + t));
    store<f32>(out + ((<usize>t) << 2), load<f32>(zero + ((<isize>clipped) << 2)));
  }
}

/** Decodes positions [from, to) of a row's block at `start`: of each the key, then the value, of one key head. */
@inline
function decodeBlock(op: usize, row: i32, head: i32, start: i32, from: i32, to: i32, block: usize): void {
  const table = place(at(op, 4), row, 1);
  const headDim = word(op, 8);
  const width = word(op, 9) * headDim;
  const bytes = (<usize>pad4(headDim)) << 2;
  const keyOffset = (<usize>((head / word(op, 10)) * headDim)) << 1;
  for (let t = from; t < to; t++) {
    const slot = slotOf(at(op, 4), row, start + t);
    const key = positionAt(table, at(op, 12), 2 * width, slot) + keyOffset;
    const out = block + <usize>(2 * t) * bytes;
    const exponents = exponentsAt(table, at(op, 12), 2 * width, slot);
    decodePart(key, headDim, exponents, out);
    decodePart(key + ((<usize>width) << 1), headDim, exponents + 1, out + bytes);
  }
}

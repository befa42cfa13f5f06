// The operations of a program (program.ts) but those of grouped-query.ts: the arguments of each, and what one of its tasks does.
// Arguments are 32-bit words, addresses and strides in bytes. packages/kernels/src/dense/program.ts writes them.
import { addAbsorbed, addValues, pairOf } from './adapters';
import { at, pad4, place, real, slotOf, tile, word } from './arguments';
import { attendBlock, closeState, openState, stateBytes, stateValues } from './attention';
import { decodePart, encodePart, exponentsAt, POSITIONS, positionAt } from './cache';
import { decodeRow, gemm, panelBytes } from './gemm';
import { prepareRow, Q8 } from './prepare';
import { exp1 } from './primitives';
import { addRow, geluRow, layerNormRow, reluRow, rmsNormRow, ropeRow, scaleRow, siluMulRow } from './rows';
import { answerQuery, rowOfQuery } from './sampling';

@inline
function preparedBytes(dim: i32, format: i32): usize {
  const blocks = (dim + 31) >> 5;
  return format >= Q8 ? ((<usize>blocks) << 6) + ((<usize>((blocks + 3) & ~3)) << 2) : (<usize>blocks) << 7;
}

/** 4 matrix, 5 format, 6 blocks, 7 ids, 8 out, 9 stride. A task is a row. */
export function embedTask(op: usize, task: i32): void {
  const id = load<i32>(at(op, 7) + ((<usize>task) << 2));
  decodeRow(at(op, 4), word(op, 5), word(op, 6), id, at(op, 8) + <usize>task * at(op, 9));
}

/**
 * x += factor × a + factor × b, where given; writes its norm (if a weight is given) to `out`, and prepares it into one or two buffers.
 * 4 x, 5 stride, 6 dim, 7 weight, 8 eps, 9 out, 10 stride, 11 prepared, 12 stride, 13 format, 14 prepared, 15 stride,
 * 16 format, 17 a, 18 stride, 19 b, 20 stride, 21 numbers of the rows in x, 22 factor, 23 bias: with one the norm is LayerNorm, else
 * RMSNorm. A task is a row. `out` rows are padded with zeros to blocks of 32.
 */
export function normTask(op: usize, task: i32, scratch: usize): void {
  const row = <usize>task;
  const dim = word(op, 6);
  const from = at(op, 21) ? <usize>load<u32>(at(op, 21) + (row << 2)) : row;
  const x = at(op, 4) + from * at(op, 5);
  if (at(op, 17)) addRow(x, at(op, 17) + row * at(op, 18), dim, real(op, 22));
  if (at(op, 19)) addRow(x, at(op, 19) + row * at(op, 20), dim, real(op, 22));
  let result = x;
  if (at(op, 7)) {
    result = at(op, 9) ? at(op, 9) + row * at(op, 10) : scratch;
    if (at(op, 23)) layerNormRow(x, at(op, 7), at(op, 23), dim, real(op, 8), result);
    else rmsNormRow(x, at(op, 7), dim, real(op, 8), result);
    const padding = (32 - (dim & 31)) & 31;
    if (at(op, 9) && padding) memory.fill(result + ((<usize>dim) << 2), 0, (<usize>padding) << 2);
  }
  if (at(op, 11)) prepareRow(result, dim, at(op, 11) + row * at(op, 12), word(op, 13));
  if (at(op, 14)) prepareRow(result, dim, at(op, 14) + row * at(op, 15), word(op, 16));
}

/**
 * 4 weights, 5 format, 6 blocks, 7 outDim, 8 x, 9 stride, 10 rows, 11 y, 12 stride, 13 accumulate, 14 panels per task.
 * A task is that many panels, for all rows.
 */
export function gemmTask(op: usize, task: i32, scratch: usize): void {
  const perTask = word(op, 14);
  const outDim = word(op, 7);
  const from = task * perTask;
  const to = min((outDim + 3) >> 2, from + perTask);
  gemm(
    at(op, 4),
    word(op, 5),
    word(op, 6),
    outDim,
    at(op, 8),
    at(op, 9),
    word(op, 10),
    at(op, 11),
    at(op, 12),
    word(op, 13),
    from,
    to,
    scratch,
  );
}

/**
 * silu(gate) ⊙ up in place of gate, and prepared.
 * 4 gate, 5 up, 6 stride, 7 width, 8 prepared, 9 stride, 10 format. A task is a row.
 */
export function siluTask(op: usize, task: i32): void {
  const row = <usize>task;
  const gate = at(op, 4) + row * at(op, 6);
  siluMulRow(gate, at(op, 5) + row * at(op, 6), word(op, 7));
  prepareRow(gate, word(op, 7), at(op, 8) + row * at(op, 9), word(op, 10));
}

/**
 * x = gelu(x + bias) or relu(x + bias), and prepared.
 * 4 x, 5 stride, 6 width, 7 bias (0: none), 8 prepared, 9 stride, 10 format, 11 whether it is ReLU. A task is a row.
 */
export function activationTask(op: usize, task: i32): void {
  const row = <usize>task;
  const x = at(op, 4) + row * at(op, 5);
  if (at(op, 7)) addRow(x, at(op, 7), word(op, 6), 1);
  if (word(op, 11)) reluRow(x, word(op, 6));
  else geluRow(x, word(op, 6));
  prepareRow(x, word(op, 6), at(op, 8) + row * at(op, 9), word(op, 10));
}

/**
 * Writes a row's compressed KV [latent | key] into the cache, the latent normalised and the key rotated.
 * 4 rows, 5 a, 6 stride, 7 latent norm, 8 eps, 9 kvLoraRank, 10 ropeDim, 11 interleaved, 12 layer offset. A task is a row.
 */
export function latentTask(op: usize, task: i32): void {
  const rows = at(op, 4);
  const a = at(op, 5) + <usize>task * at(op, 6);
  const rank = word(op, 9);
  const rope = word(op, 10);
  rmsNormRow(a, at(op, 7), rank, real(op, 8), a);
  ropeRow(a + ((<usize>rank) << 2), rope, place(rows, task, 2), place(rows, task, 3), word(op, 11));
  const slot = <i32>place(rows, task, 4);
  const to = positionAt(place(rows, task, 1), at(op, 12), rank + rope, slot);
  const exponents = exponentsAt(place(rows, task, 1), at(op, 12), rank + rope, slot);
  encodePart(a, rank, to, exponents);
  encodePart(a + ((<usize>rank) << 2), rope, to + ((<usize>rank) << 1), exponents + 1);
}

/**
 * Absorbed latent attention (DeepSeek-V2 paper §2.1.2) of some heads of some rows.
 * 4 rows, 5 tasks, 6 q, 7 stride, 8 nope, 9 ropeDim, 10 kvLoraRank, 11 vHeadDim, 12 scale, 13 interleaved, 14 layer offset,
 * 15 W_UKᵀ, 16 its format, 17 bytes a head, 18 W_UV, 19 its format, 20 bytes a head, 21 out, 22 stride, 23 the entry of
 * kv_b_proj in the rows' adapters (−1: no row has one).
 */
export function latentAttentionTask(op: usize, task: i32, scratch: usize): void {
  const rows = at(op, 4);
  const firstRow = tile(at(op, 5), task, 0);
  const numRows = tile(at(op, 5), task, 1);
  const firstHead = tile(at(op, 5), task, 2);
  const numHeads = tile(at(op, 5), task, 3);
  const nope = word(op, 8);
  const rope = word(op, 9);
  const rank = word(op, 10);
  const latentDim = pad4(rank);
  const keyDim = latentDim + pad4(rope);
  const keyBytes = (<usize>keyDim) << 2;
  const state = stateBytes(latentDim);
  const numQueries = numRows * numHeads;
  // scratch: scores | queries | states | block | block of one row | (prepared rows, expanded panel)
  const queries = scratch + ((<usize>POSITIONS) << 2);
  const states = queries + <usize>numQueries * keyBytes;
  const block = states + <usize>numQueries * state;
  const ownBlock = block + <usize>POSITIONS * keyBytes;
  const spare = ownBlock + <usize>POSITIONS * keyBytes;

  for (let h = 0; h < numHeads; h++) {
    absorb(op, firstRow, numRows, firstHead + h, queries + <usize>(h * numRows) * keyBytes, keyBytes, spare);
  }
  for (let i = 0; i < numQueries; i++) openState(states + <usize>i * state, latentDim);
  // Keys and latents are padded separately, so that both are whole vectors.
  memory.fill(block, 0, <usize>POSITIONS * keyBytes);
  let isOwnCleared = false;
  let last = 0;
  let shared = 0;
  for (let r = firstRow; r < firstRow + numRows; r++) {
    last = max(last, <i32>place(rows, r, 0));
    shared = max(shared, <i32>place(rows, r, 5));
  }
  for (let start = 0; start <= last; start += POSITIONS) {
    const held = min(POSITIONS, shared - start);
    for (let t = 0; t < held; t++) {
      decodeLatent(op, place(rows, firstRow, 1), start + t, latentDim, block + <usize>t * keyBytes);
    }
    for (let r = firstRow; r < firstRow + numRows; r++) {
      const count = min(POSITIONS, <i32>place(rows, r, 0) + 1 - start);
      if (count <= 0) continue;
      let from = block;
      if (start + count > <i32>place(rows, r, 5)) {
        // Some of its positions lie elsewhere: the same block, of this row alone.
        from = ownBlock;
        if (!isOwnCleared) memory.fill(ownBlock, 0, <usize>POSITIONS * keyBytes);
        isOwnCleared = true;
        for (let t = 0; t < count; t++) {
          decodeLatent(op, place(rows, r, 1), slotOf(rows, r, start + t), latentDim, from + <usize>t * keyBytes);
        }
      }
      for (let h = 0; h < numHeads; h++) {
        const i = <usize>(h * numRows + r - firstRow);
        const query = queries + i * keyBytes;
        attendBlock(query, keyDim, latentDim, from, from, keyBytes, count, real(op, 12), states + i * state, scratch, 0);
      }
    }
  }
  for (let i = 0; i < numQueries; i++) closeState(states + <usize>i * state, latentDim);
  for (let h = 0; h < numHeads; h++) {
    values(op, firstRow, numRows, firstHead + h, states + <usize>(h * numRows) * state, state, spare);
  }
}

/** Decodes the latent and the rotated key in a slot. */
@inline
function decodeLatent(op: usize, table: usize, slot: i32, latentDim: i32, out: usize): void {
  const rope = word(op, 9);
  const rank = word(op, 10);
  const from = positionAt(table, at(op, 14), rank + rope, slot);
  const exponents = exponentsAt(table, at(op, 14), rank + rope, slot);
  decodePart(from, rank, exponents, out);
  decodePart(from + ((<usize>rank) << 1), rope, exponents + 1, out + ((<usize>latentDim) << 2));
}

/** q̃ = W_UKᵀ q_nope beside the rotated q_pe, for one head of some rows. */
@inline
function absorb(op: usize, firstRow: i32, numRows: i32, head: i32, out: usize, stride: usize, spare: usize): void {
  const rows = at(op, 4);
  const nope = word(op, 8);
  const rope = word(op, 9);
  const latentDim = (<usize>pad4(word(op, 10))) << 2;
  const format = word(op, 16);
  const prepared = preparedBytes(nope, format);
  for (let r = 0; r < numRows; r++) {
    const q = at(op, 6) + <usize>(firstRow + r) * at(op, 7) + ((<usize>(head * (nope + rope))) << 2);
    prepareRow(q, nope, spare + <usize>r * prepared, format);
    const to = out + <usize>r * stride;
    memory.fill(to, 0, stride);
    memory.copy(to + latentDim, q + ((<usize>nope) << 2), (<usize>rope) << 2);
    ropeRow(to + latentDim, rope, place(rows, firstRow + r, 2), place(rows, firstRow + r, 3), word(op, 13));
  }
  const blocks = (nope + 31) >> 5;
  const panels = (word(op, 10) + 3) >> 2;
  const w = at(op, 15) + <usize>head * at(op, 17);
  const expanded = spare + <usize>numRows * prepared;
  gemm(w, format, blocks, word(op, 10), spare, prepared, numRows, out, stride, 0, 0, panels, expanded);
  if (word(op, 23) < 0) return;
  for (let r = 0; r < numRows; r++) {
    const pair = pairOf(rows, firstRow + r, word(op, 23));
    const q = at(op, 6) + <usize>(firstRow + r) * at(op, 7) + ((<usize>(head * (nope + rope))) << 2);
    if (pair) addAbsorbed(pair, q, head * (nope + word(op, 11)), nope, out + <usize>r * stride);
  }
}

/** W_UV Σ p c, for one head of some rows, to its place in `out`. */
@inline
function values(op: usize, firstRow: i32, numRows: i32, head: i32, states: usize, stride: usize, spare: usize): void {
  const rank = word(op, 10);
  const vDim = word(op, 11);
  const format = word(op, 19);
  const prepared = preparedBytes(rank, format);
  for (let r = 0; r < numRows; r++) {
    prepareRow(stateValues(states + <usize>r * stride), rank, spare + <usize>r * prepared, format);
  }
  const out = at(op, 21) + <usize>firstRow * at(op, 22) + ((<usize>(head * vDim)) << 2);
  const w = at(op, 18) + <usize>head * at(op, 20);
  const blocks = (rank + 31) >> 5;
  const panels = (vDim + 3) >> 2;
  const expanded = spare + <usize>numRows * prepared;
  gemm(w, format, blocks, vDim, spare, prepared, numRows, out, at(op, 22), 0, 0, panels, expanded);
  if (word(op, 23) < 0) return;
  const first = head * (word(op, 8) + vDim) + word(op, 8);
  for (let r = 0; r < numRows; r++) {
    const pair = pairOf(at(op, 4), firstRow + r, word(op, 23));
    if (pair) addValues(pair, stateValues(states + <usize>r * stride), first, vDim, out + <usize>r * at(op, 22));
  }
}

/** x *= factor × σ(logit). 4 x, 5 stride, 6 dim, 7 factor, 8 logits (0: without σ), 9 stride. A task is a row. */
export function scaleTask(op: usize, task: i32): void {
  const row = <usize>task;
  let factor = real(op, 7);
  if (at(op, 8)) factor /= 1 + exp1(-load<f32>(at(op, 8) + row * at(op, 9)));
  scaleRow(at(op, 4) + row * at(op, 5), word(op, 6), factor);
}

/** 4 token queries, 5 stride, 6 logits, 7 stride, 8 vocab. A task is a query. */
export function queryTask(op: usize, task: i32, scratch: usize): void {
  const query = at(op, 4) + <usize>task * at(op, 5);
  answerQuery(query, at(op, 6) + <usize>rowOfQuery(query) * at(op, 7), word(op, 8), scratch);
}

// The work of a lap, y = Σ_e w_e · W_down,e (silu(W_gate,e x) ⊙ W_up,e x), cut into items that any thread may do: an item
// writes what no other does, and reads only what earlier phases wrote, so results do not depend on who did it.
import {
  addF16, addFloats, addQ4, addQ8, addShorts, unpackF16, unpackQ4, unpackQ8,
} from './expert-blocks';
import { activate, BLOCK_COLS, F16, HEADER_BYTES, inputBytes, prepare, Q4, Q8, widen, F16_INPUT_BYTES, Q_INPUT_BYTES } from './expert-input';
import { madd } from './simd';

export { inputBytes } from './expert-input';
export { sumOfSquares } from './expert-blocks';

/** From so many rows of one expert on, a tile's weights are unpacked once for all of them. */
const UNPACK_FROM_ROWS: i32 = 4;
/** Weight rows of a tile that is unpacked: 8 KiB of floats. */
const TILE_ROWS: i32 = 64;
/** Bytes of a thread's scratch. */
export const THREAD_SCRATCH_BYTES: i32 = TILE_ROWS * 128;
/** Phases of a lap, in order; a phase's items are in any order. */
export const NUM_PHASES: i32 = 5;

/** A lap as its caller lays it out; packages/kernels/src/wasm/lap-memory.ts writes it. A slot is an assignment, grouped by expert. */
@unmanaged
class Lap {
  format: i32;
  hiddenSize: i32;
  moeIntermediateSize: i32;
  numRows: i32;
  numAssignments: i32;
  /** f16 bits, [numRows][hiddenSize] */
  rows: usize;
  /** [numRows][inputBytes(hiddenSize)] */
  inputs: usize;
  /** [numRows][hiddenSize up to whole blocks], of use in the first phase, then the result */
  output: usize;
  /** [numSlots]: the slot's row */
  slotRow: usize;
  /** [numSlots][moeIntermediateSize up to whole blocks] */
  gate: usize;
  up: usize;
  /** [numSlots][inputBytes(moeIntermediateSize)] */
  hidden: usize;
  /** [numSlots][hiddenSize up to whole blocks] */
  down: usize;
  /** [numRows]: the row's end among assignments */
  rowEnd: usize;
  /** [numAssignments]: the assignment's slot */
  slotOf: usize;
  /** f32 [numAssignments] */
  weights: usize;
  /** Items of gate-and-up, and of down: TileItem. */
  gateUpItems: usize;
  numGateUpItems: i32;
  downItems: usize;
  numDownItems: i32;
  /** Offsets in a shard. */
  gateValues: usize;
  gateScales: usize;
  upValues: usize;
  upScales: usize;
  downValues: usize;
  downScales: usize;
  /** [threads][THREAD_SCRATCH_BYTES] */
  scratch: usize;
}

/** Some weight rows of one expert, for all of its slots. */
@unmanaged
class TileItem {
  shard: usize;
  firstSlot: i32;
  numSlots: i32;
  /** Multiple of 4. */
  firstRow: i32;
  endRow: i32;
}

// @ts-ignore: decorator
@inline
function padded(cols: i32): i32 {
  return (cols + BLOCK_COLS - 1) & -BLOCK_COLS;
}

/** How many items a phase has. */
export function phaseItems(address: usize, phase: i32): i32 {
  const lap = changetype<Lap>(address);
  if (phase == 0 || phase == 4) return lap.numRows;
  if (phase == 1) return lap.numGateUpItems;
  if (phase == 2) return lap.numAssignments;
  return lap.numDownItems;
}

/** Does one item of a phase on behalf of one thread. */
export function runItem(address: usize, phase: i32, item: i32, thread: i32): void {
  const lap = changetype<Lap>(address);
  if (phase == 0) return readRow(lap, item);
  if (phase == 1) return gateUp(lap, item, thread);
  if (phase == 2) return activateSlot(lap, item);
  if (phase == 3) return down(lap, item, thread);
  sumRow(lap, item);
}

/** All of a lap, on the calling thread. */
export function runLap(address: usize): void {
  for (let phase = 0; phase < NUM_PHASES; phase++) {
    const items = phaseItems(address, phase);
    for (let item = 0; item < items; item++) runItem(address, phase, item, 0);
  }
}

function readRow(lap: Lap, row: i32): void {
  const D = lap.hiddenSize;
  const values = lap.output + <usize>row * (<usize>padded(D) << 2);
  widen(lap.rows + <usize>row * (<usize>D << 1), D, values);
  prepare(lap.format, values, D, lap.inputs + <usize>row * inputBytes(lap.format, D));
}

function gateUp(lap: Lap, index: i32, thread: i32): void {
  const item = changetype<TileItem>(lap.gateUpItems + <usize>index * offsetof<TileItem>());
  const D = lap.hiddenSize;
  const F = lap.moeIntermediateSize;
  const stride = inputBytes(lap.format, D);
  const shard = item.shard;
  multiply(lap, item, thread, shard + lap.gateValues, shard + lap.gateScales, F, D, lap.inputs, stride, true, lap.gate);
  multiply(lap, item, thread, shard + lap.upValues, shard + lap.upScales, F, D, lap.inputs, stride, true, lap.up);
}

function activateSlot(lap: Lap, slot: i32): void {
  const F = lap.moeIntermediateSize;
  const at = <usize>slot * (<usize>padded(F) << 2);
  activate(lap.gate + at, lap.up + at, F);
  prepare(lap.format, lap.gate + at, F, lap.hidden + <usize>slot * inputBytes(lap.format, F));
}

function down(lap: Lap, index: i32, thread: i32): void {
  const item = changetype<TileItem>(lap.downItems + <usize>index * offsetof<TileItem>());
  const D = lap.hiddenSize;
  const F = lap.moeIntermediateSize;
  const stride = inputBytes(lap.format, F);
  const shard = item.shard;
  multiply(lap, item, thread, shard + lap.downValues, shard + lap.downScales, D, F, lap.hidden, stride, false, lap.down);
}

/** In the order of the row's assignments. */
function sumRow(lap: Lap, row: i32): void {
  const bytes = <usize>padded(lap.hiddenSize) << 2;
  const output = lap.output + <usize>row * bytes;
  memory.fill(output, 0, bytes);
  const first = row == 0 ? 0 : load<i32>(lap.rowEnd + (<usize>(row - 1) << 2));
  const end = load<i32>(lap.rowEnd + (<usize>row << 2));
  for (let a = first; a < end; a++) {
    const weight = v128.load_splat<f32>(lap.weights + (<usize>a << 2));
    const from = lap.down + <usize>load<i32>(lap.slotOf + (<usize>a << 2)) * bytes;
    for (let i: usize = 0; i < bytes; i += 16) {
      v128.store(output + i, madd(v128.load(from + i), weight, v128.load(output + i)));
    }
  }
}

/**
 * outputs[slot][firstRow..endRow] = matrix rows · the slot's input. `outOfRows`: inputs are the rows' (slotRow names which),
 * else the slots' own.
 */
function multiply(
  lap: Lap, item: TileItem, thread: i32,
  values: usize, scales: usize, totalRows: i32, cols: i32,
  inputs: usize, stride: i32, outOfRows: bool, outputs: usize,
): void {
  const format = lap.format;
  const blocks = (cols + BLOCK_COLS - 1) / BLOCK_COLS;
  const scratch = lap.scratch + <usize>thread * THREAD_SCRATCH_BYTES;
  const outStride = <usize>padded(totalRows) << 2;
  const unpack = item.numSlots >= UNPACK_FROM_ROWS;
  const step = unpack ? TILE_ROWS : item.endRow - item.firstRow;
  const blockBytes = format == F16 ? F16_INPUT_BYTES : Q_INPUT_BYTES;
  for (let row = item.firstRow; row < item.endRow; row += step) {
    const rows = min(step, item.endRow - row);
    for (let i = 0; i < item.numSlots; i++) {
      memory.fill(outputs + <usize>(item.firstSlot + i) * outStride + (<usize>row << 2), 0, <usize>((rows + 3) & -4) << 2);
    }
    for (let block = 0; block < blocks; block++) {
      if (unpack) unpackBlock(format, values, totalRows, cols, block, row, rows, scratch);
      for (let i = 0; i < item.numSlots; i++) {
        const slot = item.firstSlot + i;
        const source = outOfRows ? load<i32>(lap.slotRow + (<usize>slot << 2)) : slot;
        const input = inputs + <usize>source * stride + HEADER_BYTES + <usize>block * blockBytes;
        const output = outputs + <usize>slot * outStride + (<usize>row << 2);
        const scale = scales + ((<usize>block * totalRows + row) << 1);
        if (!unpack) addBlock(format, values, scale, totalRows, cols, block, row, rows, input, output);
        else if (format == F16) addFloats(scratch, input, output, rows);
        else addShorts(scratch, scale, input, output, rows);
      }
    }
    if (format == F16) rescale(lap, item, inputs, stride, outOfRows, outputs, outStride, row, rows);
  }
}

/** f16 [colBlocks of 8][totalRows][16 B]: the address of the k-th of a block's four; the last one where there are fewer. */
// @ts-ignore: decorator
@inline
function quarter(values: usize, totalRows: i32, cols: i32, block: i32, k: i32, row: i32): usize {
  const colBlock = min(block * 4 + k, (cols + 7) / 8 - 1);
  return values + ((<usize>colBlock * totalRows + row) << 4);
}

function addBlock(
  format: i32, values: usize, scale: usize, totalRows: i32, cols: i32, block: i32, row: i32, rows: i32,
  input: usize, output: usize,
): void {
  if (format == F16) {
    addF16(
      quarter(values, totalRows, cols, block, 0, row), quarter(values, totalRows, cols, block, 1, row),
      quarter(values, totalRows, cols, block, 2, row), quarter(values, totalRows, cols, block, 3, row),
      input, output, rows,
    );
  } else if (format == Q8) {
    const low = values + ((<usize>(2 * block) * totalRows + row) << 4);
    addQ8(low, low + (<usize>totalRows << 4), scale, input, output, rows);
  } else {
    addQ4(values + ((<usize>block * totalRows + row) << 4), scale, input, output, rows);
  }
}

function unpackBlock(
  format: i32, values: usize, totalRows: i32, cols: i32, block: i32, row: i32, rows: i32, scratch: usize,
): void {
  if (format == F16) {
    unpackF16(
      quarter(values, totalRows, cols, block, 0, row), quarter(values, totalRows, cols, block, 1, row),
      quarter(values, totalRows, cols, block, 2, row), quarter(values, totalRows, cols, block, 3, row),
      scratch, rows,
    );
  } else if (format == Q8) {
    const low = values + ((<usize>(2 * block) * totalRows + row) << 4);
    unpackQ8(low, low + (<usize>totalRows << 4), scratch, rows);
  } else {
    unpackQ4(values + ((<usize>block * totalRows + row) << 4), scratch, rows);
  }
}

/** Times each input's factor, a power of two. */
function rescale(
  lap: Lap, item: TileItem, inputs: usize, stride: i32, outOfRows: bool,
  outputs: usize, outStride: usize, row: i32, rows: i32,
): void {
  for (let i = 0; i < item.numSlots; i++) {
    const slot = item.firstSlot + i;
    const source = outOfRows ? load<i32>(lap.slotRow + (<usize>slot << 2)) : slot;
    const factor = v128.load_splat<f32>(inputs + <usize>source * stride);
    const output = outputs + <usize>slot * outStride + (<usize>row << 2);
    const bytes = <usize>rows << 2;
    for (let r: usize = 0; r < bytes; r += 16) v128.store(output + r, f32x4.mul(v128.load(output + r), factor));
  }
}

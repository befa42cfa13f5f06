// The work of a lap, y = Σ_e w_e · W_down,e a(W_gate,e x, W_up,e x) with biases where there are any, cut into items for any thread. Items write disjoint
// memory and read only results of earlier phases, so results do not depend on the thread. The products are the dense engine's
// (dense/gemm.ts).
import { addLowRank } from './dense/adapters';
import { scaleBy } from './dense/cache';
import { gemm } from './dense/gemm';
import { prepareRow } from './dense/prepare';
import { loadHalves, madd } from './dense/primitives';
import { activateRow, isGated } from './expert-activations';

/** Phases of a lap, in order. The items of a phase are done in any order. */
export const NUM_PHASES: i32 = 5;

/**
 * A lap as packages/kernels/src/wasm/work-layout.ts writes it. A slot is an assignment's place; the slots of one expert are
 * consecutive.
 */
@unmanaged
class Lap {
  format: i32;
  hiddenSize: i32;
  moeIntermediateSize: i32;
  numRows: i32;
  numSlots: i32;
  /** f16 bits, [numRows][hiddenSize] */
  rows: usize;
  /** [numSlots][inputBytes]: the slot's row, prepared */
  inputs: usize;
  inputBytes: i32;
  /** [numRows][hiddenSize up to whole vectors]: the result */
  output: usize;
  /** [numSlots]: the slot's row in the lower 24 bits, and that row's exponent above them */
  slotRow: usize;
  /** [numSlots][moeIntermediateSize up to whole vectors] */
  gate: usize;
  up: usize;
  /** [numSlots][hiddenBytes]: activations, prepared */
  hidden: usize;
  hiddenBytes: i32;
  /** [numSlots][hiddenSize up to whole vectors], of use in the first phase too */
  down: usize;
  /** [numRows]: the row's end among assignments */
  rowEnd: usize;
  /** [numSlots], in the order of assignments: the assignment's slot */
  slotOf: usize;
  /** f32, in the order of assignments */
  weights: usize;
  /** Items of gate-and-up, and of down: PanelItem. */
  gateUpItems: usize;
  numGateUpItems: i32;
  downItems: usize;
  numDownItems: i32;
  /** Offsets in an expert's memory: of the matrices, then of their biases, 0 without one. */
  gateOffset: usize;
  upOffset: usize;
  downOffset: usize;
  gateBias: usize;
  upBias: usize;
  downBias: usize;
  /** [threads][scratchBytes] */
  scratch: usize;
  scratchBytes: i32;
  activation: i32;
  /** [numSlots]: where a slot's list of adapters lies, or 0 (`adapt`); 0 for none of them. */
  slotAdapters: usize;
}

/** Some panels of one expert's matrices, for all of its slots. */
@unmanaged
class PanelItem {
  expert: usize;
  firstSlot: i32;
  numSlots: i32;
  firstPanel: i32;
  endPanel: i32;
}

// @ts-ignore: decorator
@inline
function blocksOf(cols: i32): i32 {
  return (cols + 31) >> 5;
}

/** Bytes of a row of floats, in whole vectors. */
// @ts-ignore: decorator
@inline
function floatBytes(cols: i32): i32 {
  return ((cols + 3) & -4) << 2;
}

/** Number of items of a phase. */
export function phaseItems(address: usize, phase: i32): i32 {
  const lap = changetype<Lap>(address);
  if (phase == 0 || phase == 2) return lap.numSlots;
  if (phase == 1) return lap.numGateUpItems;
  if (phase == 3) return lap.numDownItems;
  return lap.numRows;
}

/** Does one item of a phase, with the scratch of one thread. */
export function runItem(address: usize, phase: i32, item: i32, thread: i32): void {
  const lap = changetype<Lap>(address);
  if (phase == 0) return readSlot(lap, item);
  if (phase == 1) return gateUp(lap, item, thread);
  if (phase == 2) return activateSlot(lap, item, thread);
  if (phase == 3) return down(lap, item, thread);
  sumRow(lap, item, thread);
}

/** Computes a lap on the calling thread. */
export function runLap(address: usize): void {
  for (let phase = 0; phase < NUM_PHASES; phase++) {
    const items = phaseItems(address, phase);
    for (let item = 0; item < items; item++) runItem(address, phase, item, 0);
  }
}

function readSlot(lap: Lap, slot: i32): void {
  const D = lap.hiddenSize;
  const source = load<i32>(lap.slotRow + (<usize>slot << 2));
  const row = source & 0xffffff;
  const values = lap.down + <usize>slot * floatBytes(D);
  widen(lap.rows + <usize>row * (<usize>D << 1), D, values);
  if (source >> 24) scaleBy(values, D, source >> 24, values);
  prepareRow(values, D, lap.inputs + <usize>slot * lap.inputBytes, lap.format);
}

/** Widens halves [cols] to values [cols]. `cols` may be odd, and nothing behind the last half is read. */
function widen(halves: usize, cols: i32, values: usize): void {
  let col = 0;
  for (; col + 4 <= cols; col += 4) v128.store(values + (<usize>col << 2), loadHalves(halves + (<usize>col << 1)));
  if (col == cols) return;
  const at = values + (<usize>col << 2);
  memory.fill(at, 0, 16);
  memory.copy(at, halves + (<usize>col << 1), <usize>(cols - col) << 1);
  v128.store(at, loadHalves(at));
}

function gateUp(lap: Lap, index: i32, thread: i32): void {
  const item = changetype<PanelItem>(lap.gateUpItems + <usize>index * offsetof<PanelItem>());
  const F = lap.moeIntermediateSize;
  const input = lap.inputs + <usize>item.firstSlot * lap.inputBytes;
  const inputBytes = lap.inputBytes;
  const cols = lap.hiddenSize;
  if (isGated(lap.activation)) {
    multiply(lap, item, lap.gateOffset, lap.gateBias, cols, input, inputBytes, F, lap.gate, thread);
  }
  multiply(lap, item, lap.upOffset, lap.upBias, cols, input, inputBytes, F, lap.up, thread);
}

function activateSlot(lap: Lap, slot: i32, thread: i32): void {
  const F = lap.moeIntermediateSize;
  const at = <usize>slot * floatBytes(F);
  // The slot's input is still where readSlot has left it.
  const input = lap.down + <usize>slot * floatBytes(lap.hiddenSize);
  if (isGated(lap.activation)) adapt(lap, slot, 0, input, lap.hiddenSize, lap.gate + at, F, thread);
  adapt(lap, slot, 4, input, lap.hiddenSize, lap.up + at, F, thread);
  const activations = activateRow(lap.activation, lap.gate + at, lap.up + at, F);
  prepareRow(activations, F, lap.hidden + <usize>slot * lap.hiddenBytes, lap.format);
}

function down(lap: Lap, index: i32, thread: i32): void {
  const item = changetype<PanelItem>(lap.downItems + <usize>index * offsetof<PanelItem>());
  const input = lap.hidden + <usize>item.firstSlot * lap.hiddenBytes;
  const cols = lap.moeIntermediateSize;
  multiply(lap, item, lap.downOffset, lap.downBias, cols, input, lap.hiddenBytes, lap.hiddenSize, lap.down, thread);
}

/** outputs[slot][the item's rows] = matrix [rows, cols] · the slot's input + bias. Offsets are in the expert's memory. */
function multiply(
  lap: Lap, item: PanelItem, matrix: usize, bias: usize, cols: i32, input: usize, inputBytes: i32,
  rows: i32, outputs: usize, thread: i32,
): void {
  const outBytes = floatBytes(rows);
  const out = outputs + <usize>item.firstSlot * outBytes;
  if (bias != 0) {
    // Products are added to it.
    const first = <usize>item.firstPanel << 4;
    const bytes = min<usize>(<usize>rows << 2, <usize>item.endPanel << 4) - first;
    for (let slot = 0; slot < item.numSlots; slot++) {
      memory.copy(out + <usize>slot * outBytes + first, item.expert + bias + first, bytes);
    }
  }
  gemm(
    item.expert + matrix, lap.format, blocksOf(cols), rows, input, inputBytes, item.numSlots,
    out, outBytes, bias != 0, item.firstPanel, item.endPanel,
    lap.scratch + <usize>thread * lap.scratchBytes,
  );
}

/**
 * Adds what the slot's adapters add to one of its expert's products; `matrix`: 0, 4 or 8 for gate, up or down. A list is the
 * number of its adapters and, of each, the address and the three matrices' scales. An adapter begins with the offsets of its three
 * pairs, 0 where there is none (packages/weights/src/adapter-shard.ts).
 */
// @ts-ignore: decorator
@inline
function adapt(lap: Lap, slot: i32, matrix: usize, x: usize, inDim: i32, y: usize, outDim: i32, thread: i32): void {
  const list = lap.slotAdapters ? <usize>load<u32>(lap.slotAdapters + (<usize>slot << 2)) : 0;
  if (list) adaptAll(list, matrix, x, inDim, y, outDim, lap.scratch + <usize>thread * lap.scratchBytes);
}

function adaptAll(list: usize, matrix: usize, x: usize, inDim: i32, y: usize, outDim: i32, scratch: usize): void {
  const count = load<i32>(list);
  for (let i = 0; i < count; i++) {
    const entry = list + 4 + (<usize>i << 4);
    const adapter = <usize>load<u32>(entry);
    const offset = <usize>load<u32>(adapter + matrix);
    if (offset) addLowRank(adapter + offset, load<f32>(entry + 4 + matrix), x, inDim, y, outDim, scratch);
  }
}

/** Adds a row's products in the order of its assignments. */
function sumRow(lap: Lap, row: i32, thread: i32): void {
  const bytes = <usize>floatBytes(lap.hiddenSize);
  const output = lap.output + <usize>row * bytes;
  memory.fill(output, 0, bytes);
  const first = row == 0 ? 0 : load<i32>(lap.rowEnd + (<usize>(row - 1) << 2));
  const end = load<i32>(lap.rowEnd + (<usize>row << 2));
  for (let a = first; a < end; a++) {
    const weight = v128.load_splat<f32>(lap.weights + (<usize>a << 2));
    const slot = load<i32>(lap.slotOf + (<usize>a << 2));
    const from = lap.down + <usize>slot * bytes;
    const activations = (isGated(lap.activation) ? lap.gate : lap.up) + <usize>slot * floatBytes(lap.moeIntermediateSize);
    adapt(lap, slot, 8, activations, lap.moeIntermediateSize, from, lap.hiddenSize, thread);
    for (let i: usize = 0; i < bytes; i += 16) {
      v128.store(output + i, madd(v128.load(from + i), weight, v128.load(output + i)));
    }
  }
}

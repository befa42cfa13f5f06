import { MAX_ADAPTER_RANK, rowRange, type WorkItem } from '@shoal/model';
import { alignUp, PANEL_ROWS, type ExpertShape } from '@shoal/weights';
import { ACTIVATION_CODES } from '../activation-codes.ts';
import { gemmScratchBytes, preparedBytes } from '../dense/workspace.ts';
import { PANEL_FORMAT_CODES, panelLayout, type PanelLayout } from './panel-layout.ts';
import type { ShardMemory } from './memory.ts';
import { PieceAdapters } from './piece-adapters.ts';

/** A lap with more bytes of intermediate results is computed in pieces of whole rows. */
const PIECE_BYTES = 4 * 2 ** 20;
/** The same of what adapters add to experts, which is copied for each piece. */
const ADAPTER_PIECE_BYTES = 16 * 2 ** 20;
/** Panels of an item: few enough that threads end together, enough that memory is read in long runs. */
const ITEM_PANELS = 32;

/** Rows [firstRow, endRow) of a lap. */
interface Piece {
  firstRow: number;
  endRow: number;
}

/** Some panels of one expert for its slots: the fields of PanelItem in expert-ffn.ts. */
type Item = readonly [expert: number, firstSlot: number, numSlots: number, firstPanel: number, endPanel: number];

/** Bytes of a row of floats, in whole vectors. */
const floatBytes = (cols: number): number => 4 * alignUp(cols, 4);

/** Lays out laps of one shape in an instance's memory, as assembly/expert-ffn.ts reads them. */
export class LapWork {
  readonly #shape: ExpertShape;
  readonly #layout: PanelLayout;
  readonly #threads: number;
  readonly #inputBytes: number;
  readonly #hiddenBytes: number;
  readonly #scratchBytes: number;

  constructor(shape: ExpertShape, threads: number) {
    const { hiddenSize: D, moeIntermediateSize: F } = shape;
    this.#shape = shape;
    this.#layout = panelLayout(shape);
    this.#threads = threads;
    // Rows are prepared for mxfp4 as for q4.
    const format = shape.quant === 'mxfp4' ? 'q4' : shape.quant;
    this.#inputBytes = alignUp(preparedBytes(D, format));
    this.#hiddenBytes = alignUp(preparedBytes(F, format));
    this.#scratchBytes = alignUp(Math.max(gemmScratchBytes(Math.max(D, F)), 4 * MAX_ADAPTER_RANK));
  }

  /** Cuts a lap so that each piece's intermediate results fit PIECE_BYTES, or are a single row's. */
  pieces(lap: WorkItem): Piece[] {
    const pieces: Piece[] = [];
    let firstRow = 0;
    let bytes = 0;
    const adapters = new PieceAdapters(lap);
    for (let row = 0; row < lap.numRows; row++) {
      const [from, to] = rowRange(lap, row);
      const rowBytes = this.#rowBytes + (to - from) * this.#slotBytes;
      const isFull = bytes + rowBytes > PIECE_BYTES || adapters.with(from, to) > ADAPTER_PIECE_BYTES;
      if (row > firstRow && isFull) {
        pieces.push({ firstRow, endRow: row });
        firstRow = row;
        bytes = 0;
        adapters.clear();
      }
      adapters.add(from, to);
      bytes += rowBytes;
    }
    if (firstRow < lap.numRows) pieces.push({ firstRow, endRow: lap.numRows });
    return pieces;
  }

  /** Writes a piece, calls `run` with its address, and copies its sums to `partial`, [numRows, hiddenSize] of the whole lap. */
  compute(
    memory: ShardMemory,
    lap: WorkItem,
    piece: Piece,
    addressOf: (expert: number) => number,
    run: (address: number) => void,
    partial: Float32Array,
  ): void {
    const D = this.#shape.hiddenSize;
    const { firstRow, endRow } = piece;
    const { address, output } = this.#write(memory, lap, piece, addressOf);
    run(address);
    const stride = floatBytes(D) / 4;
    const sums = new Float32Array(memory.memory.buffer, output, (endRow - firstRow) * stride);
    for (let row = firstRow; row < endRow; row++) {
      const from = (row - firstRow) * stride;
      partial.set(sums.subarray(from, from + D), row * D);
    }
  }

  get #rowBytes(): number {
    return 2 * this.#shape.hiddenSize + floatBytes(this.#shape.hiddenSize) + 4;
  }

  get #slotBytes(): number {
    const { hiddenSize, moeIntermediateSize } = this.#shape;
    return 2 * floatBytes(moeIntermediateSize) + this.#inputBytes + this.#hiddenBytes + floatBytes(hiddenSize) + 12;
  }

  #write(memory: ShardMemory, lap: WorkItem, { firstRow, endRow }: Piece, addressOf: (expert: number) => number) {
    const { hiddenSize: D, moeIntermediateSize: F, quant, activation = 'swiglu' } = this.#shape;
    const numRows = endRow - firstRow;
    const [from, to] = rowRange(lap, firstRow, endRow);
    const { slotOf, slotRow, groups } = group(lap, firstRow, endRow);
    const { exponents } = lap;
    if (exponents) for (const [slot, row] of slotRow.entries()) slotRow[slot]! |= exponents[firstRow + row]! << 24;
    const itemsOf = (rows: number): Item[] =>
      groups.flatMap(({ expert, firstSlot, numSlots }) =>
        cuts(rows).map(([first, end]) => [addressOf(expert), firstSlot, numSlots, first, end] as const),
      );
    const [gateUpItems, downItems] = [itemsOf(F), itemsOf(D)];
    const numSlots = to - from;
    const adapters = new PieceAdapters(lap);
    adapters.add(from, to);
    const cursor = new Cursor();
    const at = {
      lap: cursor.take(4 * 32),
      rows: cursor.take(2 * numRows * D),
      inputs: cursor.take(numSlots * this.#inputBytes),
      output: cursor.take(numRows * floatBytes(D)),
      slotRow: cursor.take(4 * numSlots),
      gate: cursor.take(numSlots * floatBytes(F)),
      up: cursor.take(numSlots * floatBytes(F)),
      hidden: cursor.take(numSlots * this.#hiddenBytes),
      down: cursor.take(numSlots * floatBytes(D)),
      rowEnd: cursor.take(4 * numRows),
      slotOf: cursor.take(4 * numSlots),
      weights: cursor.take(4 * numSlots),
      gateUpItems: cursor.take(4 * 5 * gateUpItems.length),
      downItems: cursor.take(4 * 5 * downItems.length),
      scratch: cursor.take(this.#threads * this.#scratchBytes),
      slotAdapters: cursor.take(4 * adapters.listWords(from, to)),
      adapters: cursor.take(adapters.bytes),
    };
    // In powers of two, since a region that has become too small is not used again.
    const bytes = adapters.bytes > 0 ? 2 ** Math.ceil(Math.log2(cursor.bytes)) : cursor.bytes;
    const base = memory.work(Math.max(bytes, PIECE_BYTES / 4));
    const { buffer } = memory.memory;
    const words = (offset: number, values: ArrayLike<number>): void =>
      new Int32Array(buffer, base + offset, values.length).set(values);
    new Uint16Array(buffer, base + at.rows, numRows * D).set(lap.rows.subarray(firstRow * D, endRow * D));
    words(at.slotRow, slotRow);
    words(at.slotOf, slotOf);
    words(
      at.rowEnd,
      Int32Array.from(lap.rowEnd.subarray(firstRow, endRow), (end) => end - from),
    );
    new Float32Array(buffer, base + at.weights, numSlots).set(lap.weights.subarray(from, to));
    words(at.gateUpItems, gateUpItems.flat());
    words(at.downItems, downItems.flat());
    if (adapters.bytes > 0) {
      const addresses = adapters.write(buffer, base + at.adapters);
      adapters.writeLists(buffer, base + at.slotAdapters, { from, slotOf, addresses });
    }
    const { matrices, biases } = this.#layout;
    // The fields of Lap in expert-ffn.ts, in their order.
    const prepared = [base + at.inputs, this.#inputBytes, base + at.output, base + at.slotRow];
    const activations = [base + at.gate, base + at.up, base + at.hidden, this.#hiddenBytes, base + at.down];
    const sums = [base + at.rowEnd, base + at.slotOf, base + at.weights];
    const items = [base + at.gateUpItems, gateUpItems.length, base + at.downItems, downItems.length];
    const offsets = [matrices, biases].flatMap(({ gate, up, down }) => [gate, up, down]);
    const slotAdapters = adapters.bytes > 0 ? base + at.slotAdapters : 0;
    const rest = [base + at.scratch, this.#scratchBytes, ACTIVATION_CODES[activation], slotAdapters];
    const sizes = [PANEL_FORMAT_CODES[quant], D, F, numRows, numSlots, base + at.rows];
    words(at.lap, sizes.concat(prepared, activations, sums, items, offsets, rest));
    return { address: base + at.lap, output: base + at.output };
  }
}

/** Hands out consecutive offsets, each in cache lines of its own. */
class Cursor {
  bytes = 0;
  take(bytes: number): number {
    const offset = this.bytes;
    this.bytes += alignUp(bytes);
    return offset;
  }
}

/** Groups the assignments of some rows by expert. Slots are numbered group after group. */
function group(lap: WorkItem, firstRow: number, endRow: number) {
  const [from, to] = rowRange(lap, firstRow, endRow);
  const numSlots = to - from;
  const experts = lap.experts.subarray(from, from + numSlots);
  const counts = new Map<number, number>();
  for (const expert of experts) counts.set(expert, (counts.get(expert) ?? 0) + 1);
  const next = new Map<number, number>();
  const groups: { expert: number; firstSlot: number; numSlots: number }[] = [];
  let slot = 0;
  for (const [expert, count] of counts) {
    groups.push({ expert, firstSlot: slot, numSlots: count });
    next.set(expert, slot);
    slot += count;
  }
  const slotOf = new Int32Array(numSlots);
  const slotRow = new Int32Array(numSlots);
  for (let row = firstRow; row < endRow; row++) {
    const [start, end] = rowRange(lap, row);
    for (let a = start - from; a < end - from; a++) {
      const mine = next.get(experts[a]!)!;
      next.set(experts[a]!, mine + 1);
      slotOf[a] = mine;
      slotRow[mine] = row;
    }
  }
  for (let i = 0; i < numSlots; i++) slotRow[i]! -= firstRow;
  return { slotOf, slotRow, groups };
}

/** Cuts the panels of `rows` weight rows into items. */
function cuts(rows: number): [number, number][] {
  const panels = Math.ceil(rows / PANEL_ROWS);
  const count = Math.ceil(panels / ITEM_PANELS);
  return Array.from({ length: count }, (_, i) => [i * ITEM_PANELS, Math.min(panels, (i + 1) * ITEM_PANELS)]);
}

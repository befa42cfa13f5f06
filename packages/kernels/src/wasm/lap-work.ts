import { shardLayout, type ExpertShape, type ShardLayout } from '@shoal/weights';
import type { ExpertLap } from '../backend.ts';
import { rowStart } from '../lap.ts';
import type { ExpertExports } from './exports.ts';
import type { ShardMemory } from './memory.ts';

/** As packages/kernels/wasm/assembly/expert-input.ts numbers them. */
export const FORMATS: Readonly<Record<ExpertShape['quant'], number>> = { f16: 0, q8: 1, q4: 2 };

/** Intermediate results of a lap, beyond which it is computed in pieces of whole rows. */
const PIECE_BYTES = 4 * 2 ** 20;
/** Weight rows of a work item: few enough that threads end together, enough that memory is read in long runs. */
const ITEM_ROWS = 256;
const BLOCK_COLS = 32;

/** Rows [firstRow, endRow) of a lap. */
interface Piece {
  firstRow: number;
  endRow: number;
}

/** Some weight rows of one expert for its slots; the fields of TileItem in expert-ffn.ts. */
type Item = readonly [shard: number, firstSlot: number, numSlots: number, firstRow: number, endRow: number];

const paddedCols = (cols: number): number => Math.ceil(cols / BLOCK_COLS) * BLOCK_COLS;

/** Lays laps of one shape out in an instance's memory, in the form that assembly/expert-ffn.ts reads. */
export class LapWork {
  readonly #shape: ExpertShape;
  readonly #layout: ShardLayout;
  readonly #rowInputBytes: number;
  readonly #slotInputBytes: number;
  readonly #scratchBytes: number;

  constructor(shape: ExpertShape, threads: number, exports: ExpertExports) {
    this.#shape = shape;
    this.#layout = shardLayout(shape);
    this.#rowInputBytes = exports.inputBytes(FORMATS[shape.quant], shape.hiddenSize);
    this.#slotInputBytes = exports.inputBytes(FORMATS[shape.quant], shape.moeIntermediateSize);
    this.#scratchBytes = threads * (exports.THREAD_SCRATCH_BYTES.value as number);
  }

  /** The lap cut so that intermediate results stay within a few MiB, or a single row's. */
  pieces(lap: ExpertLap): Piece[] {
    const pieces: Piece[] = [];
    let firstRow = 0;
    let bytes = 0;
    for (let row = 0; row < lap.numRows; row++) {
      const rowBytes = this.#rowBytes + (lap.rowEnd[row]! - rowStart(lap, row)) * this.#slotBytes;
      if (row > firstRow && bytes + rowBytes > PIECE_BYTES) {
        pieces.push({ firstRow, endRow: row });
        firstRow = row;
        bytes = 0;
      }
      bytes += rowBytes;
    }
    if (firstRow < lap.numRows) pieces.push({ firstRow, endRow: lap.numRows });
    return pieces;
  }

  /** Write a piece; `run` it by its address; copy its sums to `partial`, [numRows, hiddenSize] of the whole lap. */
  compute(
    memory: ShardMemory,
    lap: ExpertLap,
    piece: Piece,
    addressOf: (expert: number) => number,
    run: (address: number) => void,
    partial: Float32Array,
  ): void {
    const D = this.#shape.hiddenSize;
    const { firstRow, endRow } = piece;
    const { address, output } = this.#write(memory, lap, piece, addressOf);
    run(address);
    const stride = paddedCols(D);
    const sums = new Float32Array(memory.memory.buffer, output, (endRow - firstRow) * stride);
    for (let row = firstRow; row < endRow; row++) {
      const from = (row - firstRow) * stride;
      partial.set(sums.subarray(from, from + D), row * D);
    }
  }

  get #rowBytes(): number {
    return 2 * this.#shape.hiddenSize + this.#rowInputBytes + 4 * paddedCols(this.#shape.hiddenSize) + 4;
  }

  get #slotBytes(): number {
    const { hiddenSize, moeIntermediateSize } = this.#shape;
    return 8 * paddedCols(moeIntermediateSize) + this.#slotInputBytes + 4 * paddedCols(hiddenSize) + 12;
  }

  #write(memory: ShardMemory, lap: ExpertLap, { firstRow, endRow }: Piece, addressOf: (expert: number) => number) {
    const { hiddenSize: D, moeIntermediateSize: F, quant } = this.#shape;
    const numRows = endRow - firstRow;
    const [from, to] = [rowStart(lap, firstRow), numRows === 0 ? 0 : lap.rowEnd[endRow - 1]!];
    const { slotOf, slotRow, groups } = group(lap, firstRow, endRow);
    const items = (rows: number): Item[] =>
      groups.flatMap(({ expert, firstSlot, numSlots }) =>
        cuts(rows).map(([first, end]) => [addressOf(expert), firstSlot, numSlots, first, end] as const),
      );
    const [gateUpItems, downItems] = [items(F), items(D)];
    const numSlots = to - from;
    const cursor = new Cursor();
    const at = {
      lap: cursor.take(4 * 32),
      rows: cursor.take(2 * numRows * D),
      inputs: cursor.take(numRows * this.#rowInputBytes),
      output: cursor.take(4 * numRows * paddedCols(D)),
      slotRow: cursor.take(4 * numSlots),
      gate: cursor.take(4 * numSlots * paddedCols(F)),
      up: cursor.take(4 * numSlots * paddedCols(F)),
      hidden: cursor.take(numSlots * this.#slotInputBytes),
      down: cursor.take(4 * numSlots * paddedCols(D)),
      rowEnd: cursor.take(4 * numRows),
      slotOf: cursor.take(4 * numSlots),
      weights: cursor.take(4 * numSlots),
      gateUpItems: cursor.take(4 * 5 * gateUpItems.length),
      downItems: cursor.take(4 * 5 * downItems.length),
      scratch: cursor.take(this.#scratchBytes),
    };
    const base = memory.work(Math.max(cursor.bytes, PIECE_BYTES / 4));
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
    const { gate: g, up: u, down: d } = this.#layout;
    // The fields of Lap in expert-ffn.ts, in their order.
    words(
      at.lap,
      [FORMATS[quant], D, F, numRows, numSlots].concat(
        [at.rows, at.inputs, at.output, at.slotRow, at.gate, at.up, at.hidden, at.down].map((offset) => base + offset),
        [at.rowEnd, at.slotOf, at.weights].map((offset) => base + offset),
        [base + at.gateUpItems, gateUpItems.length, base + at.downItems, downItems.length],
        [g.valuesOffset, g.scalesOffset, u.valuesOffset, u.scalesOffset, d.valuesOffset, d.scalesOffset],
        [base + at.scratch],
      ),
    );
    return { address: base + at.lap, output: base + at.output };
  }
}

/** Offsets of what lies one after the other, each in cache lines of its own. */
class Cursor {
  bytes = 0;
  take(bytes: number): number {
    const offset = this.bytes;
    this.bytes += Math.ceil(bytes / 64) * 64;
    return offset;
  }
}

/** The assignments of some rows, grouped by expert: slots are numbered group after group. */
function group(lap: ExpertLap, firstRow: number, endRow: number) {
  const from = rowStart(lap, firstRow);
  const numSlots = endRow === firstRow ? 0 : lap.rowEnd[endRow - 1]! - from;
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
    for (let a = rowStart(lap, row) - from; a < lap.rowEnd[row]! - from; a++) {
      const mine = next.get(experts[a]!)!;
      next.set(experts[a]!, mine + 1);
      slotOf[a] = mine;
      slotRow[mine] = row;
    }
  }
  for (let i = 0; i < numSlots; i++) slotRow[i]! -= firstRow;
  return { slotOf, slotRow, groups };
}

function cuts(rows: number): [number, number][] {
  const count = Math.ceil(rows / ITEM_ROWS);
  return Array.from({ length: count }, (_, i) => [i * ITEM_ROWS, Math.min(rows, (i + 1) * ITEM_ROWS)]);
}

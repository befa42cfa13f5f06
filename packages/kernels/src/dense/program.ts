import type { DenseFormat } from '@shoal/weights';
import type { Bank } from './bank.ts';

/** As packages/kernels/wasm/assembly/engine/prepare.ts numbers them. */
export const FORMAT_CODES: Readonly<Record<DenseFormat, number>> = { f32: 0, f16: 1, q8: 2, q4: 3 };

/** As packages/kernels/wasm/assembly/engine/program.ts numbers them. */
const EMBED = 1;
const NORM = 2;
const GEMM = 3;
const SILU = 4;
const LATENT = 5;
const LATENT_ATTENTION = 6;
const KEY_VALUE = 7;
const GROUPED_ATTENTION = 8;
const QUERY = 9;

const OP_WORDS = 32;
/** Longest program: V3 has three dense layers before its first lap, of some 15 operations each. */
const MAX_OPS = 512;
export const PROGRAM_BYTES = (MAX_OPS + 1) * OP_WORDS * 4;
/** Tasks of one product: small enough that threads end together, large enough that memory is read in long runs. */
const TASKS_PER_THREAD = 6;

/** A packed matrix in a bank; `outDim` rows of `blocks` × 32 columns. */
export interface Matrix {
  address: number;
  format: DenseFormat;
  outDim: number;
  inDim: number;
  blocks: number;
  /** From one head's matrix to the next. */
  strideBytes: number;
}

/** Rows of a buffer. */
export interface Rows {
  address: number;
  strideBytes: number;
}

/** Rows prepared for weights of a format. */
export interface PreparedRows extends Rows {
  format: DenseFormat;
}

export interface NormArgs {
  x: Rows;
  dim: number;
  numRows: number;
  /** Address of the weight; absent: only prepare. */
  weight?: number;
  eps?: number;
  out?: Rows;
  prepared?: readonly PreparedRows[];
  /** Added to x first. */
  add?: readonly Rows[];
  /** Address of the rows' numbers in x; absent: all in order. */
  rowNumbers?: number;
}

const word = new DataView(new ArrayBuffer(4));

function bitsOf(value: number): number {
  word.setFloat32(0, value);
  return word.getInt32(0);
}

/** Writes a program's operations into a bank, in the order of their execution. */
export class ProgramWriter {
  readonly #bank: Bank;
  readonly #threads: number;
  readonly #address: number;
  #ops = 0;

  constructor(bank: Bank, address: number, threads: number) {
    this.#bank = bank;
    this.#address = address;
    this.#threads = threads;
  }

  get isEmpty(): boolean {
    return this.#ops === 0;
  }

  /** What comes after waits for all that was written before. */
  barrier(): void {
    this.#bank.views.i32[this.#at(this.#ops - 1) + 1] = 1;
  }

  /** The program is whole: its address. The writer is then at its beginning again. */
  finish(): number {
    this.#bank.views.i32[this.#at(this.#ops)] = 0;
    this.#ops = 0;
    return this.#address;
  }

  embed(matrix: Matrix, ids: number, out: Rows, numRows: number): void {
    const { address, format, blocks } = matrix;
    this.#push(EMBED, numRows, [address, FORMAT_CODES[format], blocks, ids, out.address, out.strideBytes]);
  }

  norm({ x, dim, numRows, weight = 0, eps = 0, out, prepared = [], add = [], rowNumbers = 0 }: NormArgs): void {
    const rows = (at: Rows | undefined): number[] => [at?.address ?? 0, at?.strideBytes ?? 0];
    const forFormat = (at: PreparedRows | undefined): number[] => [...rows(at), at ? FORMAT_CODES[at.format] : 0];
    this.#push(NORM, numRows, [
      ...rows(x),
      dim,
      weight,
      bitsOf(eps),
      ...rows(out),
      ...forFormat(prepared[0]),
      ...forFormat(prepared[1]),
      ...rows(add[0]),
      ...rows(add[1]),
      rowNumbers,
    ]);
  }

  gemm(matrix: Matrix, x: PreparedRows, numRows: number, y: Rows, accumulate = false): void {
    if (x.format !== matrix.format) throw new TypeError(`${matrix.format} weights for rows prepared for ${x.format}`);
    const panels = Math.ceil(matrix.outDim / 4);
    const perTask = Math.max(1, Math.ceil(panels / (this.#threads * TASKS_PER_THREAD)));
    const { address, format, blocks, outDim } = matrix;
    this.#push(GEMM, Math.ceil(panels / perTask), [
      address,
      FORMAT_CODES[format],
      blocks,
      outDim,
      x.address,
      x.strideBytes,
      numRows,
      y.address,
      y.strideBytes,
      Number(accumulate),
      perTask,
    ]);
  }

  silu(gate: Rows, up: number, width: number, numRows: number, out: PreparedRows): void {
    this.#push(SILU, numRows, [
      gate.address,
      up,
      gate.strideBytes,
      width,
      out.address,
      out.strideBytes,
      FORMAT_CODES[out.format],
    ]);
  }

  /** Arguments as operations.ts lists them, from word 4 on. */
  latent(numRows: number, args: readonly number[]): void {
    this.#push(LATENT, numRows, args);
  }

  latentAttention(numTasks: number, args: readonly number[]): void {
    this.#push(LATENT_ATTENTION, numTasks, args);
  }

  keyValue(numRows: number, args: readonly number[]): void {
    this.#push(KEY_VALUE, numRows, args);
  }

  groupedAttention(numTasks: number, args: readonly number[]): void {
    this.#push(GROUPED_ATTENTION, numTasks, args);
  }

  /** Queries about rows of logits [vocabSize]. */
  answer(queries: Rows, numQueries: number, logits: Rows, vocabSize: number): void {
    const args = [queries.address, queries.strideBytes, logits.address, logits.strideBytes, vocabSize];
    this.#push(QUERY, numQueries, args);
  }

  #at(op: number): number {
    return this.#address / 4 + op * OP_WORDS;
  }

  #push(operation: number, tasks: number, args: readonly number[]): void {
    if (this.#ops === MAX_OPS) throw new RangeError(`a program of more than ${MAX_OPS} operations`);
    const { i32 } = this.#bank.views;
    const at = this.#at(this.#ops++);
    i32.fill(0, at, at + OP_WORDS);
    i32[at] = operation;
    i32[at + 3] = tasks;
    for (const [i, arg] of args.entries()) i32[at + 4 + i] = arg;
  }
}

/** An f32 argument. */
export const realArg = bitsOf;

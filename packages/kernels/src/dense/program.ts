import type { DenseFormat } from '@shoal/weights';
import { OUT_COLUMNS } from './adapter-space.ts';
import type { Bank } from './bank.ts';

/** Numbers of the formats in packages/kernels/wasm/assembly/dense/prepare.ts. */
export const FORMAT_CODES: Readonly<Record<DenseFormat, number>> = { f32: 0, f16: 1, q8: 2, q4: 3 };

/** Numbers of the operations in packages/kernels/wasm/assembly/dense/program.ts. */
const OPERATIONS = {
  embed: 1,
  norm: 2,
  gemm: 3,
  silu: 4,
  latent: 5,
  latentAttention: 6,
  keyValue: 7,
  groupedAttention: 8,
  query: 9,
  scale: 10,
  adapterIn: 11,
  adapterOut: 12,
  activation: 13,
} as const;

const OP_WORDS = 32;
/** V3 has three dense layers of about 15 operations each before its first lap. A dense model is run some layers at a time. */
const MAX_OPS = 512;
export const PROGRAM_BYTES = (MAX_OPS + 1) * OP_WORDS * 4;
/** Tasks of one product: enough that threads end together, but few enough that memory is read in long runs. */
const TASKS_PER_THREAD = 6;

/** A packed matrix in a bank; `outDim` rows of `blocks` × 32 columns. */
export interface Matrix {
  address: number;
  format: DenseFormat;
  outDim: number;
  inDim: number;
  blocks: number;
  /** Distance from one head's matrix to the next. */
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
  /** Address of the weight; without one rows are only prepared. */
  weight?: number;
  /** Address of the bias; with one, the norm is LayerNorm. */
  bias?: number;
  eps?: number;
  out?: Rows;
  prepared?: readonly PreparedRows[];
  /** Added to x first, each multiplied by `factor` (1 by default). */
  add?: readonly Rows[];
  factor?: number;
  /** Address of the rows' numbers in x; by default all in order. */
  rowNumbers?: number;
}

const word = new DataView(new ArrayBuffer(4));

/** The bits of an f32 argument. */
export function bitsOf(value: number): number {
  word.setFloat32(0, value);
  return word.getInt32(0);
}

/** One product that adapters add to, for all rows of a pass. */
export interface AdapterArgs {
  /** Table of the rows, and the number of the matrix in their adapters. */
  rowTable: number;
  entry: number;
  numRows: number;
  /** A x of each row. */
  inner: Rows;
}

/** Writes a program's operations into a bank, in execution order. */
export class ProgramWriter {
  readonly #bank: Pick<Bank, 'views'>;
  readonly #threads: number;
  readonly #address: number;
  #ops = 0;

  constructor(bank: Pick<Bank, 'views'>, address: number, threads: number) {
    this.#bank = bank;
    this.#address = address;
    this.#threads = threads;
  }

  /** Whether half of the room for operations is taken. */
  get isLong(): boolean {
    return this.#ops > MAX_OPS / 2;
  }

  get isEmpty(): boolean {
    return this.#ops === 0;
  }

  /** Makes the operations that follow wait for all before them. */
  barrier(): void {
    this.#bank.views.i32[this.#at(this.#ops - 1) + 1] = 1;
  }

  /** Ends the program and returns its address. The writer then begins a new one. */
  finish(): number {
    this.#bank.views.i32[this.#at(this.#ops)] = 0;
    this.#ops = 0;
    return this.#address;
  }

  embed(matrix: Matrix, ids: number, out: Rows, numRows: number): void {
    const { address, format, blocks } = matrix;
    this.push('embed', numRows, [address, FORMAT_CODES[format], blocks, ids, out.address, out.strideBytes]);
  }

  norm({
    x,
    dim,
    numRows,
    weight = 0,
    bias = 0,
    eps = 0,
    out,
    prepared = [],
    add = [],
    factor = 1,
    rowNumbers = 0,
  }: NormArgs): void {
    if (add.length > 2) throw new RangeError(`${add.length} rows to add, and an operation has room for two`);
    const rows = (at: Rows | undefined): number[] => [at?.address ?? 0, at?.strideBytes ?? 0];
    const forFormat = (at: PreparedRows | undefined): number[] => [...rows(at), at ? FORMAT_CODES[at.format] : 0];
    this.push('norm', numRows, [
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
      bitsOf(factor),
      bias,
    ]);
  }

  gemm(matrix: Matrix, x: PreparedRows, numRows: number, y: Rows, accumulate = false): void {
    if (x.format !== matrix.format) throw new TypeError(`${matrix.format} weights for rows prepared for ${x.format}`);
    const panels = Math.ceil(matrix.outDim / 4);
    // Even, since several rows are multiplied with two panels at a time.
    const perTask = 2 * Math.ceil(panels / (2 * this.#threads * TASKS_PER_THREAD));
    const { address, format, blocks, outDim } = matrix;
    this.push('gemm', Math.ceil(panels / perTask), [
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

  /** A x for the rows whose adapter has the matrix; x [numRows, dim]. */
  adapterIn({ rowTable, entry, numRows, inner }: AdapterArgs, x: Rows, dim: number): void {
    const parts = Math.max(1, Math.floor((2 * this.#threads) / numRows));
    const args = [rowTable, entry, x.address, x.strideBytes, dim, inner.address, inner.strideBytes, parts];
    this.push('adapterIn', numRows * parts, args);
  }

  /** y += B (A x) for these rows; y [numRows, dim]. */
  adapterOut({ rowTable, entry, numRows, inner }: AdapterArgs, y: Rows, dim: number): void {
    const parts = Math.ceil(dim / OUT_COLUMNS);
    const args = [rowTable, entry, inner.address, inner.strideBytes, y.address, y.strideBytes, dim, parts];
    this.push('adapterOut', numRows * parts, args);
  }

  silu(gate: Rows, up: number, width: number, numRows: number, out: PreparedRows): void {
    const prepared = [out.address, out.strideBytes, FORMAT_CODES[out.format]];
    this.push('silu', numRows, [gate.address, up, gate.strideBytes, width, ...prepared]);
  }

  /** x = gelu(x + bias) or relu(x + bias) in place, and prepared; `bias` is an address, 0 without one. */
  activate(kind: 'gelu' | 'relu', x: Rows, width: number, bias: number, numRows: number, out: PreparedRows): void {
    const prepared = [out.address, out.strideBytes, FORMAT_CODES[out.format]];
    this.push('activation', numRows, [x.address, x.strideBytes, width, bias, ...prepared, Number(kind === 'relu')]);
  }

  /** Multiplies rows by a factor, and by the sigmoid of a logit per row, if given. */
  scale(x: Rows, dim: number, numRows: number, factor: number, logits?: Rows): void {
    const from = [logits?.address ?? 0, logits?.strideBytes ?? 0];
    this.push('scale', numRows, [x.address, x.strideBytes, dim, bitsOf(factor), ...from]);
  }

  /** Answers token queries about rows of logits [vocabSize]. */
  answer(queries: Rows, numQueries: number, logits: Rows, vocabSize: number): void {
    const args = [queries.address, queries.strideBytes, logits.address, logits.strideBytes, vocabSize];
    this.push('query', numQueries, args);
  }

  #at(op: number): number {
    return this.#address / 4 + op * OP_WORDS;
  }

  /** Writes an operation with its arguments as operations.ts lists them, from word 4 on. */
  push(operation: keyof typeof OPERATIONS, tasks: number, args: readonly number[]): void {
    if (this.#ops === MAX_OPS) throw new RangeError(`a program of more than ${MAX_OPS} operations`);
    const { i32 } = this.#bank.views;
    const at = this.#at(this.#ops++);
    i32.fill(0, at, at + OP_WORDS);
    i32[at] = OPERATIONS[operation];
    i32[at + 3] = tasks;
    for (const [i, arg] of args.entries()) i32[at + 4 + i] = arg;
  }
}

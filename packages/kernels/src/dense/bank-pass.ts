import {
  type ForwardObserver,
  type ForwardResult,
  type ForwardSegment,
  type HeadRow,
  type ModelConfig,
  RowFaults,
  type SettledMask,
} from '@shoal/model';
import type { Bank } from './bank.ts';
import type { DenseMemory, KvKind } from './dense-memory.ts';
import { type PassRow, type PassTables, writeTables } from './pass.ts';
import { type Matrix, ProgramWriter, type Rows } from './program.ts';
import type { Runner } from './runner.ts';
import { headChunks, listWordsOf, readAnswer, writeQuery } from './token-queries.ts';
import type { Workspace } from './workspace.ts';

type MovedRows = 'x' | 'h' | 'shared' | 'routed';

export interface BankPassOptions {
  memory: DenseMemory;
  runner: Runner;
  /** By bank; only this pass uses them until it has ended. */
  workspaces: readonly Workspace[];
  rows: readonly PassRow[];
  /** What layers the rows go through: those of the main model, of its MTP module, or of a head. */
  config: ModelConfig;
  kv: KvKind;
  observe: ForwardObserver;
}

/** Where logits come from, and how many. */
export interface Output {
  matrix: Matrix;
  size: number;
  divisor: number;
}

/**
 * A batch's way through the banks. Operations are collected and run together; the calling thread only waits and moves rows. Passes may
 * overlap: they share only the runner.
 */
export class BankPass {
  readonly #options: BankPassOptions;
  readonly #tables = new Map<number, PassTables>();
  protected readonly numRows: number;
  protected readonly faults: RowFaults;
  protected bank: number;
  /** For observers, the layer that the operations belong to. */
  protected layer = 0;
  #program: ProgramWriter;

  constructor(options: BankPassOptions, firstBank: number) {
    this.#options = options;
    this.numRows = options.rows.length;
    this.bank = firstBank;
    this.faults = new RowFaults(options.rows.map(({ cache }) => cache));
    // In all banks now, since a sequence may be freed with its pages while the pass goes on.
    const { memory, workspaces, rows, runner, kv, config } = options;
    for (const [bank, workspace] of workspaces.entries()) {
      const about = { kv, config, threads: runner.threads };
      this.#tables.set(bank, writeTables(memory, bank, workspace, rows, about));
    }
    this.#program = this.#open(firstBank);
  }

  get tables(): PassTables {
    return this.#tables.get(this.bank)!;
  }

  get program(): ProgramWriter {
    return this.#program;
  }

  /** Continues in a segment's bank, and moves some rows there. */
  async enter(segment: string, moved: readonly MovedRows[]): Promise<void> {
    const bank = this.#options.memory.bankOf(segment);
    if (bank === this.bank) return;
    await this.run('move');
    const from = this.tables.workspace;
    const before = this.memoryBank;
    this.#program = this.#open(bank);
    this.bank = bank;
    const to = this.tables.workspace;
    for (const name of moved) {
      const { address, strideBytes } = from[name];
      const bytes = before.views.u8.subarray(address, address + strideBytes * this.numRows);
      this.memoryBank.views.u8.set(bytes, to[name].address);
    }
  }

  /** Runs the collected operations. */
  protected async run(kind: ForwardSegment['kind']): Promise<void> {
    if (this.#program.isEmpty) return;
    const { control, threadScratch, threadScratchBytes } = this.tables.workspace;
    const program = this.#program.finish();
    const work = `${kind} ${this.layer} ${Math.floor(Math.log2(this.numRows))}`;
    const job = { bank: this.bank, program, control, scratch: threadScratch, scratchBytes: threadScratchBytes, work };
    const queuedMs = performance.now();
    const times = await this.#options.runner.run(job);
    this.#options.observe.segment?.({ kind, layer: this.layer, numRows: this.numRows, queuedMs, ...times });
  }

  /** The tokens' embeddings, each multiplied by `factor`. */
  embed(matrix: Matrix, ids: readonly number[], out: Rows, factor = 1): void {
    const { workspace } = this.tables;
    this.views.i32.set(ids, workspace.ids / 4);
    this.#program.embed(matrix, workspace.ids, out, ids.length);
    this.#program.barrier();
    if (factor === 1) return;
    this.#program.scale(out, matrix.inDim, ids.length, factor);
    this.#program.barrier();
  }

  /** What the rows need of their logits, HEAD_ROWS at a time. */
  protected async answers(
    wanted: readonly HeadRow[],
    masks: readonly SettledMask[],
    output: Output,
  ): Promise<Pick<ForwardResult, 'logits' | 'answers'>> {
    const logits: ForwardResult['logits'] = wanted.map(() => undefined);
    const answers: ForwardResult['answers'] = wanted.map(() => undefined);
    for (const chunk of headChunks(wanted)) {
      this.#computeLogits(chunk, output);
      const asked = this.#writeQueries(chunk, wanted, masks, output.size);
      await this.run('head');
      for (const [row, r] of chunk.entries()) {
        const mask = masks[r];
        if (wanted[r]!.wantLogits) logits[r] = this.#readLogits(row, output.size);
        if (wanted[r]!.query && mask instanceof Error) answers[r] = mask;
      }
      for (const [i, r] of asked.entries()) answers[r] = readAnswer(this.memoryBank, this.#queryAt(i), output.size);
    }
    return { logits, answers };
  }

  /** Computes the logits of some rows, HEAD_ROWS at most. */
  #computeLogits(rows: readonly number[], { matrix: head, size, divisor }: Output): void {
    const { workspace } = this.tables;
    const prepared = workspace.prepared(head.format, head.inDim);
    this.views.i32.set(rows, workspace.rowNumbers / 4);
    this.#program.norm({
      x: workspace.h,
      dim: head.inDim,
      numRows: rows.length,
      prepared: [prepared],
      rowNumbers: workspace.rowNumbers,
    });
    this.#program.barrier();
    this.#program.gemm(head, prepared, rows.length, workspace.logits);
    this.#program.barrier();
    if (divisor === 1) return;
    this.#program.scale(workspace.logits, size, rows.length, 1 / divisor);
    this.#program.barrier();
  }

  /** Asks for answers about the logits of `rows`; returns the rows that are asked for one. A row whose mask failed is not. */
  #writeQueries(
    rows: readonly number[],
    wanted: readonly HeadRow[],
    masks: readonly SettledMask[],
    size: number,
  ): readonly number[] {
    const { workspace } = this.tables;
    const asked: number[] = [];
    let lists = workspace.queryLists;
    for (const [row, r] of rows.entries()) {
      const { query } = wanted[r]!;
      const mask = masks[r];
      if (!query || mask instanceof Error) continue;
      const place = { query: this.#queryAt(asked.length), lists, mask: this.#maskAt(asked.length), row };
      writeQuery(this.memoryBank, place, query, mask, size);
      lists += listWordsOf([wanted[r]!]) * 4;
      asked.push(r);
    }
    if (asked.length === 0) return asked;
    this.#program.answer(workspace.queries, asked.length, workspace.logits, size);
    this.#program.barrier();
    return asked;
  }

  protected get memoryBank(): Bank {
    return this.#options.memory.banks[this.bank]!;
  }

  protected get views() {
    return this.#viewsOf(this.bank);
  }

  #viewsOf(bank: number) {
    return this.#options.memory.banks[bank]!.views;
  }

  #open(bank: number): ProgramWriter {
    const { memory, runner } = this.#options;
    return new ProgramWriter(memory.banks[bank]!, this.#tables.get(bank)!.workspace.program, runner.threads);
  }

  #readLogits(row: number, size: number): Float32Array {
    const { address, strideBytes } = this.tables.workspace.logits;
    const from = (address + row * strideBytes) / 4;
    return Float32Array.from(this.views.f32.subarray(from, from + size));
  }

  #queryAt(i: number): number {
    const { address, strideBytes } = this.tables.workspace.queries;
    return address + i * strideBytes;
  }

  #maskAt(i: number): number {
    const { address, strideBytes } = this.tables.workspace.masks;
    return address + i * strideBytes;
  }

  protected readRows({ address, strideBytes }: Rows, dim: number, bank = this.bank): Float32Array {
    const out = new Float32Array(this.numRows * dim);
    const { f32 } = this.#viewsOf(bank);
    for (let r = 0; r < this.numRows; r++) {
      const from = (address + r * strideBytes) / 4;
      out.set(f32.subarray(from, from + dim), r * dim);
    }
    return out;
  }

  protected writeRows({ address, strideBytes }: Rows, values: Float32Array): void {
    const dim = values.length / this.numRows;
    for (let r = 0; r < this.numRows; r++) {
      this.views.f32.set(values.subarray(r * dim, (r + 1) * dim), (address + r * strideBytes) / 4);
    }
  }
}

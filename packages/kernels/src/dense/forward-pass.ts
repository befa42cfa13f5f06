import {
  addBias,
  checkCombined,
  chooserOf,
  type EncodeResult,
  type ExpertDispatch,
  type ForwardObserver,
  type ForwardResult,
  type ForwardSegment,
  type HeadRow,
  masksAfterLayers,
  moeCall,
  RowFaults,
  selectExperts,
  type SettledMask,
} from '@shoal/model';
import type { Bank } from './bank.ts';
import type { DenseMemory } from './dense-memory.ts';
import type { EncoderProgram } from './encoder-program.ts';
import type { LayerProgram, LayerStep } from './layer-program.ts';
import { writeTables, type PassRow, type PassTables } from './pass.ts';
import { ProgramWriter, type Matrix, type Rows } from './program.ts';
import type { Runner } from './runner.ts';
import { listWordsOf, readAnswer, writeQuery } from './token-queries.ts';
import { HEAD_ROWS, type Workspace } from './workspace.ts';

type MovedRows = 'x' | 'h' | 'shared' | 'routed';

export interface PassOptions {
  memory: DenseMemory;
  layers: LayerProgram;
  runner: Runner;
  /** By bank; only this pass uses them until it has ended. */
  workspaces: readonly Workspace[];
  rows: readonly PassRow[];
  experts: ExpertDispatch;
  observe: ForwardObserver;
  /** Whether the rows' caches are the MTP module's. */
  mtp: boolean;
}

/**
 * One pass of a batch through the banks. Operations are collected and run together; the calling thread only waits, chooses
 * experts from the gate's logits, and moves rows to and from `experts`. Passes may overlap: they share only the runner.
 */
export class ForwardPass {
  readonly #options: PassOptions;
  readonly #tables = new Map<number, PassTables>();
  readonly #numRows: number;
  #bank: number;
  #layer = 0;
  #program: ProgramWriter;
  /** Sums that the next norm adds to x first. */
  #pending: ('routed' | 'shared')[] = [];
  readonly #faults: RowFaults;

  constructor(options: PassOptions, firstBank: number) {
    this.#options = options;
    this.#numRows = options.rows.length;
    this.#bank = firstBank;
    this.#faults = new RowFaults(options.rows.map(({ cache }) => cache));
    // In all banks now, since a sequence may be freed with its pages while the pass goes on.
    const { memory, workspaces, rows, runner, mtp } = options;
    for (const [bank, workspace] of workspaces.entries()) {
      this.#tables.set(bank, writeTables(memory, bank, workspace, rows, { mtp, threads: runner.threads }));
    }
    this.#program = this.#open(firstBank);
  }

  get tables(): PassTables {
    return this.#tables.get(this.#bank)!;
  }

  get program(): ProgramWriter {
    return this.#program;
  }

  /** Continues in a segment's bank, and moves some rows there: x and the pending sums by default. */
  async enter(segment: string, moved: readonly MovedRows[] = ['x', ...this.#pending]): Promise<void> {
    const bank = this.#options.memory.bankOf(segment);
    if (bank === this.#bank) return;
    await this.#run('move');
    const from = this.tables.workspace;
    const before = this.#memoryBank;
    this.#program = this.#open(bank);
    this.#bank = bank;
    const to = this.tables.workspace;
    for (const name of moved) {
      const { address, strideBytes } = from[name];
      const bytes = before.views.u8.subarray(address, address + strideBytes * this.#numRows);
      this.#memoryBank.views.u8.set(bytes, to[name].address);
    }
  }

  /** Runs the collected operations. */
  async #run(kind: ForwardSegment['kind']): Promise<void> {
    if (this.#program.isEmpty) return;
    const { control, threadScratch, threadScratchBytes } = this.tables.workspace;
    const program = this.#program.finish();
    const work = `${kind} ${this.#layer} ${Math.floor(Math.log2(this.#numRows))}`;
    const job = { bank: this.#bank, program, control, scratch: threadScratch, scratchBytes: threadScratchBytes, work };
    const queuedMs = performance.now();
    const times = await this.#options.runner.run(job);
    this.#options.observe.segment?.({ kind, layer: this.#layer, numRows: this.#numRows, queuedMs, ...times });
  }

  embed(matrix: Matrix, ids: readonly number[], out: Rows): void {
    const { workspace } = this.tables;
    this.#views.i32.set(ids, workspace.ids / 4);
    this.#program.embed(matrix, workspace.ids, out, ids.length);
    this.#program.barrier();
    const { embeddingMultiplier } = this.#options.memory.config;
    if (embeddingMultiplier === 1) return;
    this.#program.scale(out, matrix.inDim, ids.length, embeddingMultiplier);
    this.#program.barrier();
  }

  /** MTP's input from x, the embeddings: x = eh_proj([enorm(x) ; hnorm(hidden)]) (DeepSeek-V3 paper §2.2). */
  joinHidden(hidden: readonly Float32Array[]): void {
    const { memory } = this.#options;
    const { hiddenSize: dim, rmsNormEps: eps } = memory.config;
    const { workspace } = this.tables;
    const numRows = this.#numRows;
    for (const [r, row] of hidden.entries()) {
      this.#views.f32.set(row, (workspace.h.address + r * workspace.h.strideBytes) / 4);
    }
    const ehProj = memory.matrix('mtp.ehProj');
    const both = workspace.ffnGate;
    const second = { address: both.address + dim * 4, strideBytes: both.strideBytes };
    // One after the other: an output row is padded behind its end, where the second begins.
    this.#program.norm({ x: workspace.x, dim, numRows, weight: memory.vector('mtp.enorm'), eps, out: both });
    this.#program.barrier();
    this.#program.norm({ x: workspace.h, dim, numRows, weight: memory.vector('mtp.hnorm'), eps, out: second });
    this.#program.barrier();
    const prepared = workspace.prepared(ehProj.format, ehProj.inDim);
    this.#program.norm({ x: both, dim: 2 * dim, numRows, prepared: [prepared] });
    this.#program.barrier();
    this.#program.gemm(ehProj, prepared, numRows, workspace.x);
    this.#program.barrier();
  }

  /** Computes a layer; `layer` is its index for the experts, `prefix` that of its weights' names. */
  async decoderLayer(prefix: string, layer: number): Promise<void> {
    const { layers } = this.#options;
    const { workspace } = this.tables;
    this.#layer = layer;
    const add = this.#pending.map((name) => workspace[name]);
    this.#pending = [];
    const step = { program: this.#program, tables: this.tables, prefix, layer };
    const computed = layers.ffnOrGate(step, layers.attention(step, add));
    if (computed === 'shared') this.#pending = ['shared'];
    if (computed !== 'gate') return;
    await this.#run('gate');
    await this.#routedExperts(step, 'h');
  }

  /** The same of an encoder's layer. */
  async encoderLayer(encoder: EncoderProgram, layer: number): Promise<void> {
    this.#layer = layer;
    const step = { program: this.#program, tables: this.tables, prefix: `layers.${layer}`, layer };
    if (encoder.layerOrGate(step) !== 'gate') return;
    await this.#run('gate');
    await this.#routedExperts(step, 'x');
    this.#pending = [];
    encoder.afterExperts(step);
  }

  /** An encoder's result, x. */
  async finishEncoder(): Promise<EncodeResult> {
    await this.#run('head');
    const hidden = this.#readRows(this.tables.workspace.x, this.#options.memory.config.hiddenSize);
    this.#faults.check(hidden, () => 'the hidden state after the last layer');
    return { hidden, faults: this.#faults.into({ answers: [] }).faults };
  }

  /**
   * Adds the pending sums to x, and computes its norm [numRows, hiddenSize] and what the rows need of their logits. The masks
   * are awaited before the head.
   */
  async finish(
    norm: string,
    wanted: readonly HeadRow[],
    masks: Promise<readonly SettledMask[]>,
  ): Promise<ForwardResult> {
    const { memory } = this.#options;
    const { hiddenSize, rmsNormEps, residualMultiplier } = memory.config;
    const { workspace } = this.tables;
    const normBank = this.#bank;
    this.#program.norm({
      x: workspace.x,
      dim: hiddenSize,
      numRows: this.#numRows,
      weight: memory.vector(norm),
      eps: rmsNormEps,
      out: workspace.h,
      add: this.#pending.map((name) => workspace[name]),
      factor: residualMultiplier,
    });
    this.#program.barrier();
    await this.enter('head', ['h']);
    const settledMasks = await masksAfterLayers(masks, this.#layer, this.#options.observe);
    const { logits, answers } = await this.#head(wanted, settledMasks);
    await this.#run('head');
    // The head leaves x as the norm has written it, in the norm's bank.
    const normed = this.#readRows(this.tables.workspace.h, hiddenSize);
    this.#faults.check(normed, () => 'the input of the output head, which is from the layers after the last experts,');
    const hidden =
      memory.config.mtpHidden === 'after-norm' ? normed : this.#readRows(workspace.x, hiddenSize, normBank);
    return this.#faults.into({ logits, answers, hidden });
  }

  /** What the rows need of their logits, HEAD_ROWS at a time. */
  async #head(
    wanted: readonly HeadRow[],
    masks: readonly SettledMask[],
  ): Promise<Pick<ForwardResult, 'logits' | 'answers'>> {
    const { vocabSize } = this.#options.memory.config;
    const logits: ForwardResult['logits'] = wanted.map(() => undefined);
    const answers: ForwardResult['answers'] = wanted.map(() => undefined);
    for (const chunk of headChunks(wanted)) {
      this.#computeLogits(chunk);
      const asked = this.#writeQueries(chunk, wanted, masks);
      await this.#run('head');
      for (const [row, r] of chunk.entries()) {
        const mask = masks[r];
        if (wanted[r]!.wantLogits) logits[r] = this.#readLogits(row);
        if (wanted[r]!.query && mask instanceof Error) answers[r] = mask;
      }
      for (const [i, r] of asked.entries()) answers[r] = readAnswer(this.#memoryBank, this.#queryAt(i), vocabSize);
    }
    return { logits, answers };
  }

  /** Computes the logits of some rows, HEAD_ROWS at most. */
  #computeLogits(rows: readonly number[]): void {
    const { memory } = this.#options;
    const { workspace } = this.tables;
    const head = memory.matrix(memory.has('lmHead') ? 'lmHead' : 'embedTokens');
    const prepared = workspace.prepared(head.format, head.inDim);
    this.#views.i32.set(rows, workspace.rowNumbers / 4);
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
    const { logitsDivisor, vocabSize } = memory.config;
    if (logitsDivisor === 1) return;
    this.#program.scale(workspace.logits, vocabSize, rows.length, 1 / logitsDivisor);
    this.#program.barrier();
  }

  /** Asks for answers about the logits of `rows`; returns the rows that are asked for one. A row whose mask failed is not. */
  #writeQueries(rows: readonly number[], wanted: readonly HeadRow[], masks: readonly SettledMask[]): readonly number[] {
    const { vocabSize } = this.#options.memory.config;
    const { workspace } = this.tables;
    const asked: number[] = [];
    let lists = workspace.queryLists;
    for (const [row, r] of rows.entries()) {
      const { query } = wanted[r]!;
      const mask = masks[r];
      if (!query || mask instanceof Error) continue;
      const place = { query: this.#queryAt(asked.length), lists, mask: this.#maskAt(asked.length), row };
      writeQuery(this.#memoryBank, place, query, mask, vocabSize);
      lists += listWordsOf([wanted[r]!]) * 4;
      asked.push(r);
    }
    if (asked.length === 0) return asked;
    this.#program.answer(workspace.queries, asked.length, workspace.logits, vocabSize);
    this.#program.barrier();
    return asked;
  }

  /** Chooses experts for `input` and dispatches the lap. The shared expert is computed while the lap is in flight. */
  async #routedExperts(step: LayerStep, input: 'x' | 'h'): Promise<void> {
    const { prefix, layer } = step;
    const { memory, layers, experts, observe } = this.#options;
    const { config } = memory;
    const { workspace } = this.tables;
    const numRows = this.#numRows;
    const logits = this.#readRows(workspace.gateLogits, config.nRoutedExperts);
    if (config.gate.hasLogitBias) addBias(logits, memory.vectorValues(`${prefix}.ffn.gate.logitBias`));
    const bias = config.gate.hasBias ? memory.vectorValues(`${prefix}.ffn.gate.bias`) : null;
    const { topkIdx, topkWeights } = selectExperts(config, logits, bias, numRows, chooserOf(experts, layer));
    observe.gate?.(layer, topkIdx, topkWeights);
    const x = this.#readRows(workspace[input], config.hiddenSize);
    const before = layer === 0 ? 'its attention' : 'its attention, or the FFN or shared expert of a layer before';
    this.#faults.check(x, () => `the input of the experts of layer ${layer}, which is from ${before},`);
    const call = moeCall(config, { layer, numRows, x, topkIdx, topkWeights });
    const handle = experts.dispatch(call);
    const hasShared = layers.hasSharedExpert(prefix);
    if (hasShared) layers.sharedExpert(step);
    const routed = await this.#lap(layer, handle);
    checkCombined(routed, call);
    this.#faults.checkExperts(call, routed);
    this.#writeRows(workspace.routed, routed);
    this.#pending = hasShared ? ['shared', 'routed'] : ['routed'];
  }

  /** Awaits the lap's sum, and runs the collected operations meanwhile. */
  async #lap(layer: number, handle: { combine(): Promise<Float32Array> }): Promise<Float32Array> {
    const { observe } = this.#options;
    let isBack = false;
    const lap = handle.combine().finally(() => (isBack = true));
    const own = this.#run('shared-expert').then(() => {
      if (!isBack) observe.waits?.(layer);
    });
    const [routed] = await settled(lap, own).finally(() => observe.resumes?.(layer));
    return routed;
  }

  get #memoryBank(): Bank {
    return this.#options.memory.banks[this.#bank]!;
  }

  get #views() {
    return this.#viewsOf(this.#bank);
  }

  #viewsOf(bank: number) {
    return this.#options.memory.banks[bank]!.views;
  }

  #open(bank: number): ProgramWriter {
    const { memory, runner } = this.#options;
    return new ProgramWriter(memory.banks[bank]!, this.#tables.get(bank)!.workspace.program, runner.threads);
  }

  #readLogits(row: number): Float32Array {
    const { address, strideBytes } = this.tables.workspace.logits;
    const from = (address + row * strideBytes) / 4;
    return Float32Array.from(this.#views.f32.subarray(from, from + this.#options.memory.config.vocabSize));
  }

  #queryAt(i: number): number {
    const { address, strideBytes } = this.tables.workspace.queries;
    return address + i * strideBytes;
  }

  #maskAt(i: number): number {
    const { address, strideBytes } = this.tables.workspace.masks;
    return address + i * strideBytes;
  }

  #readRows({ address, strideBytes }: Rows, dim: number, bank = this.#bank): Float32Array {
    const out = new Float32Array(this.#numRows * dim);
    const { f32 } = this.#viewsOf(bank);
    for (let r = 0; r < this.#numRows; r++) {
      const from = (address + r * strideBytes) / 4;
      out.set(f32.subarray(from, from + dim), r * dim);
    }
    return out;
  }

  #writeRows({ address, strideBytes }: Rows, values: Float32Array): void {
    const dim = values.length / this.#numRows;
    for (let r = 0; r < this.#numRows; r++) {
      this.#views.f32.set(values.subarray(r * dim, (r + 1) * dim), (address + r * strideBytes) / 4);
    }
  }
}

/** The rows whose logits are needed, in parts that the head computes at a time. */
export function headChunks(wanted: readonly HeadRow[]): number[][] {
  const numbers = wanted.flatMap(({ wantLogits, query }, r) => (wantLogits || query ? [r] : []));
  return Array.from({ length: Math.ceil(numbers.length / HEAD_ROWS) }, (_, i) =>
    numbers.slice(i * HEAD_ROWS, (i + 1) * HEAD_ROWS),
  );
}

/** Awaits both, and then throws the first error, since threads must not go on in memory that was given back. */
async function settled<A, B>(a: Promise<A>, b: Promise<B>): Promise<[A, B]> {
  const [first, second] = await Promise.allSettled([a, b]);
  if (first.status === 'rejected') throw first.reason;
  if (second.status === 'rejected') throw second.reason;
  return [first.value, second.value];
}

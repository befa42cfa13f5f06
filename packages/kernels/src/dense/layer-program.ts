import {
  type AdapterTarget,
  isMoeLayer,
  LATENT_NORM_EPS,
  type GqaConfig,
  type MlaConfig,
  type ModelConfig,
} from '@shoal/model';
import { adapterEntry } from './adapter-space.ts';
import type { DenseMemory } from './dense-memory.ts';
import type { PassTables } from './pass.ts';
import type { DistanceBiases } from './position-bias.ts';
import { bitsOf, FORMAT_CODES, type Matrix, type PreparedRows, type ProgramWriter, type Rows } from './program.ts';

/** The layer whose operations are written, and where to. */
export interface LayerStep {
  program: ProgramWriter;
  tables: PassTables;
  /** Prefix of the layer's weights. */
  prefix: string;
  /** The layer's index for the experts. */
  layer: number;
  /** What the attention's projections read, prepared for them; by default the norm of x. */
  input?: PreparedRows | undefined;
  /** What attention adds to scores. */
  biases?: DistanceBiases | undefined;
}

/** A product of some rows. */
interface Product {
  matrix: Matrix;
  /** What it is to adapters. */
  target: AdapterTarget;
  y: Rows;
  accumulate?: boolean;
}
/** Where layers have their positions in a page, and which page table. */
export type LayerPlaces = Pick<DenseMemory, 'layerOffset' | 'pageTableOf'>;

const addressOf = ({ address, strideBytes }: Rows): [number, number] => [address, strideBytes];

/** Writes the operations of a decoder layer. packages/model/src/layer.ts computes the same. */
export class LayerProgram {
  readonly #memory: DenseMemory;
  readonly #config: ModelConfig;
  readonly #places: LayerPlaces;

  /** Of the main model's layers and the MTP module's, or of others. */
  constructor(memory: DenseMemory, config = memory.config, places: LayerPlaces = memory) {
    this.#memory = memory;
    this.#config = config;
    this.#places = places;
  }

  /** x += add; x += attention(norm(x)), but for the rows that are returned: the next norm must add those. */
  attention(step: LayerStep, add: readonly Rows[]): Rows[] {
    const { attention } = this.#config;
    if (attention.kind === 'mla') this.#mla(step, add, attention);
    else this.#gqa(step, add, attention);
    return this.project(step);
  }

  /**
   * x += add, and its norm; then either the gate's logits, or a dense layer's FFN: added to x, or in `workspace.shared` where
   * the next norm must add it.
   */
  ffnOrGate(step: LayerStep, add: readonly Rows[]): 'gate' | 'added' | 'shared' {
    const { program, tables, prefix, layer } = step;
    const { workspace, numRows } = tables;
    const { hiddenSize, rmsNormEps, residualMultiplier } = this.#config;
    const isMoe = isMoeLayer(this.#config, layer);
    const first = isMoe ? `${prefix}.ffn.shared.gate` : `${prefix}.ffn.mlp.gate`;
    const format = this.#memory.has(first) ? this.#memory.matrix(first).format : undefined;
    program.norm({
      x: workspace.x,
      dim: hiddenSize,
      numRows,
      weight: this.#memory.vector(`${prefix}.postAttentionLayernorm`),
      eps: rmsNormEps,
      out: workspace.h,
      ...(format && { prepared: [workspace.prepared(format, hiddenSize)] }),
      add,
      factor: residualMultiplier,
    });
    program.barrier();
    if (isMoe) {
      const gate = this.#memory.matrix(`${prefix}.ffn.gate.weight`);
      const product = { matrix: gate, target: 'moeGate', y: workspace.gateLogits } as const;
      this.#products(step, { ...workspace.h, format: 'f32' }, workspace.h, [product]);
      return 'gate';
    }
    const isAdded = residualMultiplier === 1;
    this.#swiglu(step, `${prefix}.ffn.mlp`, isAdded ? workspace.x : workspace.shared, isAdded);
    return isAdded ? 'added' : 'shared';
  }

  hasSharedExpert(prefix: string): boolean {
    return this.#memory.has(`${prefix}.ffn.shared.gate`);
  }

  sharedExpert(step: LayerStep): void {
    const { program, tables, prefix } = step;
    const { workspace, numRows } = tables;
    const { sharedExpertGate, hiddenSize } = this.#config;
    if (sharedExpertGate) {
      const gate = this.#memory.matrix(`${prefix}.ffn.sharedGate`);
      const product = { matrix: gate, target: 'sharedGate', y: workspace.sharedGate } as const;
      this.#products(step, { ...workspace.h, format: 'f32' }, workspace.h, [product]);
    }
    this.#swiglu(step, `${prefix}.ffn.shared`, workspace.shared, false);
    if (!sharedExpertGate) return;
    program.scale(workspace.shared, hiddenSize, numRows, 1, workspace.sharedGate);
    program.barrier();
  }

  /** y (+)= W_down (silu(W_gate h) ⊙ W_up h), from the prepared rows h. */
  #swiglu(step: LayerStep, name: string, y: Rows, accumulate: boolean): void {
    const { program, tables } = step;
    const { workspace, numRows } = tables;
    const [gate, up, down] = ['gate', 'up', 'down'].map((part) => this.#memory.matrix(`${name}.${part}`));
    const { ffnGate, ffnUp } = workspace;
    const h = workspace.prepared(gate!.format, gate!.inDim);
    this.#products(step, h, workspace.h, [
      { matrix: gate!, target: 'gate', y: ffnGate },
      { matrix: up!, target: 'up', y: { address: ffnUp, strideBytes: ffnGate.strideBytes } },
    ]);
    const activations = workspace.prepared(down!.format, down!.inDim);
    program.silu(ffnGate, ffnUp, down!.inDim, numRows, activations);
    program.barrier();
    this.#products(step, activations, ffnGate, [{ matrix: down!, target: 'down', y, accumulate }]);
  }

  /** x += add, then its norm, prepared for the attention's projections, of which `first` is one. Returns the prepared rows. */
  #inputNorm({ program, tables, prefix }: LayerStep, add: readonly Rows[], first: Matrix): PreparedRows {
    const { workspace, numRows } = tables;
    const { hiddenSize, rmsNormEps, residualMultiplier } = this.#config;
    const prepared = workspace.prepared(first.format, hiddenSize);
    program.norm({
      x: workspace.x,
      dim: hiddenSize,
      numRows,
      weight: this.#memory.vector(`${prefix}.inputLayernorm`),
      eps: rmsNormEps,
      prepared: [prepared],
      // The rows as they are, for adapters; what lies in `h` is not needed any more.
      ...(tables.adapters.length > 0 && { out: workspace.h }),
      add,
      factor: residualMultiplier,
    });
    program.barrier();
    return prepared;
  }

  #mla(step: LayerStep, add: readonly Rows[], config: MlaConfig): void {
    const { program, tables } = step;
    const { workspace, numRows } = tables;
    const memory = this.#memory;
    const at = `${step.prefix}.attention`;
    const kvA = memory.matrix(`${at}.kvAProjWithMqa`);
    const h = this.#inputNorm(step, add, kvA);
    this.#products(step, h, workspace.h, [
      { matrix: kvA, target: 'kvA', y: workspace.key },
      config.qLoraRank === null
        ? { matrix: memory.matrix(`${at}.q.proj`), target: 'q', y: workspace.query }
        : { matrix: memory.matrix(`${at}.q.aProj`), target: 'qA', y: workspace.latent },
    ]);
    const interleaved = Number(this.#config.rope.pairs === 'interleaved');
    const offset = this.#places.layerOffset(step.layer);
    program.push('latent', numRows, [
      this.#rowTable(step),
      ...addressOf(workspace.key),
      memory.vector(`${at}.kvALayernorm`),
      bitsOf(LATENT_NORM_EPS),
      config.kvLoraRank,
      config.qkRopeHeadDim,
      interleaved,
      offset,
    ]);
    if (config.qLoraRank === null) program.barrier();
    else this.#queriesFromLatent(step, at, config.qLoraRank);
    const perHead = ({ address, format, strideBytes }: Matrix) => [address, FORMAT_CODES[format], strideBytes];
    program.push('latentAttention', tables.attentionTasks, [
      this.#rowTable(step),
      workspace.tasks,
      ...addressOf(workspace.query),
      config.qkNopeHeadDim,
      config.qkRopeHeadDim,
      config.kvLoraRank,
      config.vHeadDim,
      bitsOf(config.softmaxScale),
      interleaved,
      offset,
      ...perHead(memory.matrix(`${at}.wUkT`)),
      ...perHead(memory.matrix(`${at}.wUv`)),
      ...addressOf(workspace.mixed),
      this.#entry(step, 'kvB') ?? -1,
    ]);
    program.barrier();
  }

  #queriesFromLatent(step: LayerStep, at: string, rank: number): void {
    const { program, tables } = step;
    const { workspace, numRows } = tables;
    const bProj = this.#memory.matrix(`${at}.q.bProj`);
    const prepared = workspace.preparedLatent(bProj.format, rank);
    program.norm({
      x: workspace.latent,
      dim: rank,
      numRows,
      weight: this.#memory.vector(`${at}.q.aLayernorm`),
      eps: LATENT_NORM_EPS,
      prepared: [prepared],
      ...(tables.adapters.length > 0 && { out: workspace.latent }),
    });
    program.barrier();
    this.#products(step, prepared, workspace.latent, [{ matrix: bProj, target: 'qB', y: workspace.query }]);
  }

  #gqa(step: LayerStep, add: readonly Rows[], config: GqaConfig): void {
    const qProj = this.#memory.matrix(`${step.prefix}.attention.qProj`);
    const h = step.input ?? this.#inputNorm(step, add, qProj);
    this.groupedQuery(step, config, h);
  }

  /** `workspace.mixed` = grouped-query attention of the prepared rows h, but for its last projection. */
  groupedQuery(step: LayerStep, config: GqaConfig, h: PreparedRows): void {
    const { program, tables } = step;
    const { workspace } = tables;
    const memory = this.#memory;
    const at = `${step.prefix}.attention`;
    const qProj = memory.matrix(`${at}.qProj`);
    const { query, key, value } = workspace;
    this.#products(step, h, workspace.h, [
      { matrix: qProj, target: 'q', y: query },
      { matrix: memory.matrix(`${at}.kProj`), target: 'k', y: key },
      { matrix: memory.matrix(`${at}.vProj`), target: 'v', y: value },
    ]);
    this.#keyValue(step, config, at);
    program.barrier();
    this.#attend(step, config, this.#rowTable(step), tables.sources?.firsts);
  }

  /** `workspace.mixed` = attention of the prepared rows h to their sources, but for its last projection. */
  crossQuery(step: LayerStep, config: GqaConfig, h: PreparedRows): void {
    const { program, tables } = step;
    const { query } = tables.workspace;
    const at = `${step.prefix}.attention`;
    const qProj = this.#memory.matrix(`${at}.qProj`);
    program.gemm(qProj, h, tables.numRows, query);
    program.barrier();
    const bias = this.#optional(`${at}.biases.q`);
    if (bias) {
      const add = [{ address: bias, strideBytes: 0 }];
      program.norm({ x: query, dim: qProj.outDim, numRows: tables.numRows, add });
      program.barrier();
    }
    this.#attend(step, config, tables.sources!.rowTable);
  }

  /** `workspace.mixed` = attention of the queries to what the caches hold; `firsts` is a table of the rows' first positions. */
  #attend(step: LayerStep, config: GqaConfig, rowTable: number, firsts = 0): void {
    const { program, tables, biases } = step;
    const { workspace } = tables;
    const { span } = this.#config.layerAttention[step.layer]!;
    program.push('groupedAttention', tables.attentionTasks, [
      rowTable,
      workspace.tasks,
      ...addressOf(workspace.query),
      config.headDim,
      config.numKeyValueHeads,
      config.numAttentionHeads / config.numKeyValueHeads,
      bitsOf(config.softmaxScale),
      this.#places.layerOffset(step.layer),
      ...addressOf(workspace.mixed),
      this.#optional(`${step.prefix}.attention.sinks`),
      span.kind === 'window' ? span.positions : 0,
      span.kind === 'chunk' ? span.positions : 0,
      firsts,
      biases?.address ?? 0,
      biases?.reach ?? 0,
    ]);
    program.barrier();
  }

  /** Writes the keys and values of `step.input` into the caches, and computes nothing else of the layer. */
  keysAndValues(step: LayerStep): void {
    const { attention } = this.#config;
    const { program, tables, prefix, input } = step;
    if (attention.kind !== 'gqa' || !input)
      throw new TypeError('keys and values of prepared rows, for grouped queries');
    const at = `${prefix}.attention`;
    program.gemm(this.#memory.matrix(`${at}.kProj`), input, tables.numRows, tables.workspace.key);
    program.gemm(this.#memory.matrix(`${at}.vProj`), input, tables.numRows, tables.workspace.value);
    program.barrier();
    // The queries, which are none, are not read.
    this.#keyValue(step, attention, at);
    program.barrier();
  }

  #keyValue(step: LayerStep, config: GqaConfig, at: string): void {
    const { program, tables, layer } = step;
    const { workspace, numRows } = tables;
    const { rope, rmsNormEps, layerAttention } = this.#config;
    const hasRope = layerAttention[layer]!.rope;
    program.push('keyValue', numRows, [
      this.#rowTable(step),
      ...[workspace.query, workspace.key, workspace.value].flatMap(addressOf),
      config.numAttentionHeads,
      config.numKeyValueHeads,
      config.headDim,
      normCode(config, hasRope),
      this.#optional(`${at}.qkNorms.q`),
      this.#optional(`${at}.qkNorms.k`),
      bitsOf(rmsNormEps),
      bitsOf(config.clipQkv ?? 0),
      hasRope ? rope.dim : 0,
      Number(rope.pairs === 'interleaved'),
      this.#places.layerOffset(layer),
      Number(config.normAfterRope),
      ...['q', 'k', 'v'].map((part) => this.#optional(`${at}.biases.${part}`)),
      config.temperature && !hasRope ? workspace.temperatures : 0,
    ]);
  }

  /**
   * Writes products of the same rows, `x` prepared and `rows` as they are, and what the rows' adapters add to them. Ends with a
   * barrier.
   */
  #products(step: LayerStep, x: PreparedRows, rows: Rows, products: readonly Product[]): void {
    const { program, tables } = step;
    const { workspace, numRows, rowTables } = tables;
    for (const { matrix, y, accumulate } of products) program.gemm(matrix, x, numRows, y, accumulate);
    const added = products.flatMap(({ target, matrix, y }, i) => {
      const entry = this.#entry(step, target);
      if (entry === undefined) return [];
      return [{ args: { rowTable: rowTables[0]!, entry, numRows, inner: workspace.adapterInner[i]! }, matrix, y }];
    });
    for (const { args, matrix } of added) program.adapterIn(args, rows, matrix.inDim);
    program.barrier();
    if (added.length === 0) return;
    for (const { args, matrix, y } of added) program.adapterOut(args, y, matrix.outDim);
    program.barrier();
  }

  /** The number of a matrix in the rows' adapters; undefined if none of them has it. */
  #entry({ tables, layer }: LayerStep, target: AdapterTarget): number | undefined {
    const entry = adapterEntry(layer, target);
    return tables.adapters.some(({ entries }) => entries.has(entry)) ? entry : undefined;
  }

  /** The table of the rows with the page table of the step's layer. */
  #rowTable({ tables, layer }: LayerStep): number {
    return tables.rowTables[this.#places.pageTableOf(layer)]!;
  }

  /** The address of a vector that not every model has; 0 without it. */
  #optional(name: string): number {
    return this.#memory.has(name) ? this.#memory.vector(name) : 0;
  }

  /** x += W_o mixed, but for the rows that are returned, as in `attention`. */
  project(step: LayerStep): Rows[] {
    const { program, tables, prefix } = step;
    const { workspace, numRows } = tables;
    const oProj = this.#memory.matrix(`${prefix}.attention.oProj`);
    const prepared = workspace.prepared(oProj.format, oProj.inDim);
    program.norm({ x: workspace.mixed, dim: oProj.inDim, numRows, prepared: [prepared] });
    program.barrier();
    const isAdded = this.#config.residualMultiplier === 1;
    // The routed experts' sums were added to x before, so their rows are free.
    const y = isAdded ? workspace.x : workspace.routed;
    this.#products(step, prepared, workspace.mixed, [{ matrix: oProj, target: 'o', y, accumulate: isAdded }]);
    const bias = this.#optional(`${prefix}.attention.biases.o`);
    return [...(isAdded ? [] : [workspace.routed]), ...(bias ? [{ address: bias, strideBytes: 0 }] : [])];
  }
}

/** Norms of queries and keys, as numbered in packages/kernels/wasm/assembly/dense/grouped-query.ts. */
function normCode({ qkNorm }: GqaConfig, hasRope: boolean): number {
  const [none, perHead, whole] = [0, 1, 2];
  switch (qkNorm) {
    case 'none':
      return none;
    case 'per-head':
      return perHead;
    case 'whole':
      return whole;
    case 'l2':
      return hasRope ? perHead : none;
    default:
      return qkNorm satisfies never;
  }
}

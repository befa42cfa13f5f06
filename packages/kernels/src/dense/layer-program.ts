import { isMoeLayer, LATENT_NORM_EPS, type GqaConfig, type MlaConfig, type ModelConfig } from '@shoal/model';
import type { DenseMemory } from './dense-memory.ts';
import type { PassTables } from './pass.ts';
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
      program.gemm(gate, { ...workspace.h, format: 'f32' }, numRows, workspace.gateLogits);
      program.barrier();
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
      program.gemm(gate, { ...workspace.h, format: 'f32' }, numRows, workspace.sharedGate);
    }
    this.#swiglu(step, `${prefix}.ffn.shared`, workspace.shared, false);
    if (!sharedExpertGate) return;
    program.scale(workspace.shared, hiddenSize, numRows, 1, workspace.sharedGate);
    program.barrier();
  }

  /** y (+)= W_down (silu(W_gate h) ⊙ W_up h), from the prepared rows h. */
  #swiglu({ program, tables }: LayerStep, name: string, y: Rows, accumulate: boolean): void {
    const { workspace, numRows } = tables;
    const [gate, up, down] = ['gate', 'up', 'down'].map((part) => this.#memory.matrix(`${name}.${part}`));
    const { ffnGate, ffnUp } = workspace;
    const h = workspace.prepared(gate!.format, gate!.inDim);
    program.gemm(gate!, h, numRows, ffnGate);
    program.gemm(up!, h, numRows, { address: ffnUp, strideBytes: ffnGate.strideBytes });
    program.barrier();
    const activations = workspace.prepared(down!.format, down!.inDim);
    program.silu(ffnGate, ffnUp, down!.inDim, numRows, activations);
    program.barrier();
    program.gemm(down!, activations, numRows, y, accumulate);
    program.barrier();
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
    program.gemm(kvA, h, numRows, workspace.key);
    if (config.qLoraRank === null) program.gemm(memory.matrix(`${at}.q.proj`), h, numRows, workspace.query);
    else program.gemm(memory.matrix(`${at}.q.aProj`), h, numRows, workspace.latent);
    program.barrier();
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
    if (config.qLoraRank !== null) this.#queriesFromLatent(program, tables, at, config.qLoraRank);
    program.barrier();
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
    ]);
    program.barrier();
  }

  #queriesFromLatent(program: ProgramWriter, { workspace, numRows }: PassTables, at: string, rank: number): void {
    const bProj = this.#memory.matrix(`${at}.q.bProj`);
    const prepared = workspace.preparedLatent(bProj.format, rank);
    program.norm({
      x: workspace.latent,
      dim: rank,
      numRows,
      weight: this.#memory.vector(`${at}.q.aLayernorm`),
      eps: LATENT_NORM_EPS,
      prepared: [prepared],
    });
    program.barrier();
    program.gemm(bProj, prepared, numRows, workspace.query);
  }

  #gqa(step: LayerStep, add: readonly Rows[], config: GqaConfig): void {
    const qProj = this.#memory.matrix(`${step.prefix}.attention.qProj`);
    const h = step.input ?? this.#inputNorm(step, add, qProj);
    this.groupedQuery(step, config, h);
  }

  /** `workspace.mixed` = grouped-query attention of the prepared rows h, but for its last projection. */
  groupedQuery(step: LayerStep, config: GqaConfig, h: PreparedRows): void {
    const { program, tables } = step;
    const { workspace, numRows } = tables;
    const memory = this.#memory;
    const at = `${step.prefix}.attention`;
    const qProj = memory.matrix(`${at}.qProj`);
    const { query, key, value } = workspace;
    program.gemm(qProj, h, numRows, query);
    program.gemm(memory.matrix(`${at}.kProj`), h, numRows, key);
    program.gemm(memory.matrix(`${at}.vProj`), h, numRows, value);
    program.barrier();
    this.#keyValue(step, config, at);
    program.barrier();
    const { span } = this.#config.layerAttention[step.layer]!;
    program.push('groupedAttention', tables.attentionTasks, [
      this.#rowTable(step),
      workspace.tasks,
      ...addressOf(query),
      config.headDim,
      config.numKeyValueHeads,
      config.numAttentionHeads / config.numKeyValueHeads,
      bitsOf(config.softmaxScale),
      this.#places.layerOffset(step.layer),
      ...addressOf(workspace.mixed),
      this.#optional(`${at}.sinks`),
      span.kind === 'window' ? span.positions : 0,
      span.kind === 'chunk' ? span.positions : 0,
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

  /** The table of the rows with the page table of the step's layer. */
  #rowTable({ tables, layer }: LayerStep): number {
    return tables.rowTables[this.#places.pageTableOf(layer)]!;
  }

  /** The address of a vector that not every model has; 0 without it. */
  #optional(name: string): number {
    return this.#memory.has(name) ? this.#memory.vector(name) : 0;
  }

  /** x += W_o mixed, but for the rows that are returned, as in `attention`. */
  project({ program, tables, prefix }: LayerStep): Rows[] {
    const { workspace, numRows } = tables;
    const oProj = this.#memory.matrix(`${prefix}.attention.oProj`);
    const prepared = workspace.prepared(oProj.format, oProj.inDim);
    program.norm({ x: workspace.mixed, dim: oProj.inDim, numRows, prepared: [prepared] });
    program.barrier();
    const isAdded = this.#config.residualMultiplier === 1;
    // The routed experts' sums were added to x before, so their rows are free.
    program.gemm(oProj, prepared, numRows, isAdded ? workspace.x : workspace.routed, isAdded);
    program.barrier();
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

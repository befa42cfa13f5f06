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
}

const addressOf = ({ address, strideBytes }: Rows): [number, number] => [address, strideBytes];

/** Writes the operations of a decoder layer. packages/model/src/layer.ts computes the same. */
export class LayerProgram {
  readonly #memory: DenseMemory;
  readonly #config: ModelConfig;

  constructor(memory: DenseMemory) {
    this.#memory = memory;
    this.#config = memory.config;
  }

  /** x += add; x += attention(norm(x)). */
  attention(step: LayerStep, add: readonly Rows[]): void {
    const { attention } = this.#config;
    if (attention.kind === 'mla') this.#mla(step, add, attention);
    else this.#gqa(step, add, attention);
    this.#project(step, this.#memory.matrix(`${step.prefix}.attention.oProj`));
  }

  /** The norm after attention, then either the whole dense FFN, added to x, or the gate's logits. */
  ffnOrGate(step: LayerStep): void {
    const { program, tables, prefix, layer } = step;
    const { workspace, numRows } = tables;
    const { hiddenSize, rmsNormEps } = this.#config;
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
    });
    program.barrier();
    if (isMoe) {
      const gate = this.#memory.matrix(`${prefix}.ffn.gate.weight`);
      program.gemm(gate, { ...workspace.h, format: 'f32' }, numRows, workspace.gateLogits);
      program.barrier();
    } else this.#swiglu(step, `${prefix}.ffn.mlp`, workspace.x, true);
  }

  hasSharedExpert(prefix: string): boolean {
    return this.#memory.has(`${prefix}.ffn.shared.gate`);
  }

  sharedExpert(step: LayerStep): void {
    this.#swiglu(step, `${step.prefix}.ffn.shared`, step.tables.workspace.shared, false);
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
    const { hiddenSize, rmsNormEps } = this.#config;
    const prepared = workspace.prepared(first.format, hiddenSize);
    program.norm({
      x: workspace.x,
      dim: hiddenSize,
      numRows,
      weight: this.#memory.vector(`${prefix}.inputLayernorm`),
      eps: rmsNormEps,
      prepared: [prepared],
      add,
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
    const offset = memory.layerOffset(step.layer);
    program.push('latent', numRows, [
      workspace.rowTable,
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
      workspace.rowTable,
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
    const { program, tables } = step;
    const { workspace, numRows } = tables;
    const memory = this.#memory;
    const at = `${step.prefix}.attention`;
    const qProj = memory.matrix(`${at}.qProj`);
    const h = this.#inputNorm(step, add, qProj);
    const { query, key, value } = workspace;
    program.gemm(qProj, h, numRows, query);
    program.gemm(memory.matrix(`${at}.kProj`), h, numRows, key);
    program.gemm(memory.matrix(`${at}.vProj`), h, numRows, value);
    program.barrier();
    const normed = config.qkNorm !== 'none';
    const offset = memory.layerOffset(step.layer);
    program.push('keyValue', numRows, [
      workspace.rowTable,
      ...[query, key, value].flatMap(addressOf),
      config.numAttentionHeads,
      config.numKeyValueHeads,
      config.headDim,
      ...(normed ? [memory.vector(`${at}.qkNorms.q`), memory.vector(`${at}.qkNorms.k`)] : [0, 0]),
      Number(config.qkNorm === 'whole'),
      bitsOf(this.#config.rmsNormEps),
      bitsOf(config.clipQkv ?? 0),
      this.#config.rope.dim,
      Number(this.#config.rope.pairs === 'interleaved'),
      offset,
    ]);
    program.barrier();
    program.push('groupedAttention', tables.attentionTasks, [
      workspace.rowTable,
      workspace.tasks,
      ...addressOf(query),
      config.headDim,
      config.numKeyValueHeads,
      config.numAttentionHeads / config.numKeyValueHeads,
      bitsOf(config.softmaxScale),
      offset,
      ...addressOf(workspace.mixed),
    ]);
    program.barrier();
  }

  /** x += W_o mixed. */
  #project({ program, tables }: LayerStep, oProj: Matrix): void {
    const { workspace, numRows } = tables;
    const prepared = workspace.prepared(oProj.format, oProj.inDim);
    program.norm({ x: workspace.mixed, dim: oProj.inDim, numRows, prepared: [prepared] });
    program.barrier();
    program.gemm(oProj, prepared, numRows, workspace.x, true);
    program.barrier();
  }
}

import { isMoeLayer, type GqaConfig, type MlaConfig, type ModelConfig } from '@shoal/model';
import type { DenseMemory } from './dense-memory.ts';
import type { PassTables } from './pass.ts';
import { FORMAT_CODES, realArg, type Matrix, type ProgramWriter, type Rows } from './program.ts';

/** The norms of the query and KV latents use this whatever `rms_norm_eps` says (as Hugging Face's modelling code). */
const LATENT_NORM_EPS = 1e-6;

/** Writes the operations of one decoder layer: packages/model/src/layer.ts says what they compute. */
export class LayerProgram {
  readonly #memory: DenseMemory;
  readonly #config: ModelConfig;

  constructor(memory: DenseMemory) {
    this.#memory = memory;
    this.#config = memory.config;
  }

  /** x += add; x += attention(norm(x)). */
  attention(program: ProgramWriter, tables: PassTables, prefix: string, layer: number, add: readonly Rows[]): void {
    const { attention } = this.#config;
    if (attention.kind === 'mla') this.#mla(program, tables, prefix, layer, add, attention);
    else this.#gqa(program, tables, prefix, layer, add, attention);
    this.#project(program, tables, this.#memory.matrix(`${prefix}.attention.oProj`));
  }

  /** The norm after attention, then either the whole dense FFN, added to x, or the router's logits. */
  ffnOrGate(program: ProgramWriter, { workspace, numRows }: PassTables, prefix: string, layer: number): void {
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
    } else this.#swiglu(program, { workspace, numRows }, `${prefix}.ffn.mlp`, workspace.x, true);
  }

  hasSharedExpert(prefix: string): boolean {
    return this.#memory.has(`${prefix}.ffn.shared.gate`);
  }

  sharedExpert(program: ProgramWriter, tables: Pick<PassTables, 'workspace' | 'numRows'>, prefix: string): void {
    this.#swiglu(program, tables, `${prefix}.ffn.shared`, tables.workspace.shared, false);
  }

  /** From the prepared rows: y (+)= W_down (silu(W_gate h) ⊙ W_up h). */
  #swiglu(
    program: ProgramWriter,
    { workspace, numRows }: Pick<PassTables, 'workspace' | 'numRows'>,
    name: string,
    y: Rows,
    accumulate: boolean,
  ): void {
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

  /** x += add, then its norm, prepared for the attention's projections. */
  #inputNorm(program: ProgramWriter, tables: PassTables, prefix: string, add: readonly Rows[], first: Matrix): void {
    const { workspace, numRows } = tables;
    const { hiddenSize, rmsNormEps } = this.#config;
    program.norm({
      x: workspace.x,
      dim: hiddenSize,
      numRows,
      weight: this.#memory.vector(`${prefix}.inputLayernorm`),
      eps: rmsNormEps,
      prepared: [workspace.prepared(first.format, hiddenSize)],
      add,
    });
    program.barrier();
  }

  #mla(
    program: ProgramWriter,
    tables: PassTables,
    prefix: string,
    layer: number,
    add: readonly Rows[],
    config: MlaConfig,
  ): void {
    const { workspace, numRows } = tables;
    const memory = this.#memory;
    const at = `${prefix}.attention`;
    const kvA = memory.matrix(`${at}.kvAProjWithMqa`);
    this.#inputNorm(program, tables, prefix, add, kvA);
    const h = workspace.prepared(kvA.format, kvA.inDim);
    program.gemm(kvA, h, numRows, workspace.key);
    if (config.qLoraRank === null) program.gemm(memory.matrix(`${at}.q.proj`), h, numRows, workspace.query);
    else program.gemm(memory.matrix(`${at}.q.aProj`), h, numRows, workspace.latent);
    program.barrier();
    const interleaved = Number(this.#config.rope.pairs === 'interleaved');
    const offset = memory.layerOffset(layer);
    program.latent(numRows, [
      workspace.rowTable,
      workspace.key.address,
      workspace.key.strideBytes,
      memory.vector(`${at}.kvALayernorm`),
      realArg(LATENT_NORM_EPS),
      config.kvLoraRank,
      config.qkRopeHeadDim,
      interleaved,
      offset,
    ]);
    if (config.qLoraRank !== null) this.#queriesFromLatent(program, tables, at, config.qLoraRank);
    program.barrier();
    const wUkT = memory.matrix(`${at}.wUkT`);
    const wUv = memory.matrix(`${at}.wUv`);
    program.latentAttention(tables.attentionTasks, [
      workspace.rowTable,
      workspace.tasks,
      workspace.query.address,
      workspace.query.strideBytes,
      config.qkNopeHeadDim,
      config.qkRopeHeadDim,
      config.kvLoraRank,
      config.vHeadDim,
      realArg(config.softmaxScale),
      interleaved,
      offset,
      wUkT.address,
      FORMAT_CODES[wUkT.format],
      wUkT.strideBytes,
      wUv.address,
      FORMAT_CODES[wUv.format],
      wUv.strideBytes,
      workspace.mixed.address,
      workspace.mixed.strideBytes,
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

  #gqa(
    program: ProgramWriter,
    tables: PassTables,
    prefix: string,
    layer: number,
    add: readonly Rows[],
    config: GqaConfig,
  ): void {
    const { workspace, numRows } = tables;
    const memory = this.#memory;
    const at = `${prefix}.attention`;
    const qProj = memory.matrix(`${at}.qProj`);
    this.#inputNorm(program, tables, prefix, add, qProj);
    const h = workspace.prepared(qProj.format, qProj.inDim);
    const { query, key, value } = workspace;
    program.gemm(qProj, h, numRows, query);
    program.gemm(memory.matrix(`${at}.kProj`), h, numRows, key);
    program.gemm(memory.matrix(`${at}.vProj`), h, numRows, value);
    program.barrier();
    const normed = config.qkNorm !== 'none';
    const offset = memory.layerOffset(layer);
    program.keyValue(numRows, [
      workspace.rowTable,
      query.address,
      query.strideBytes,
      key.address,
      key.strideBytes,
      value.address,
      value.strideBytes,
      config.numAttentionHeads,
      config.numKeyValueHeads,
      config.headDim,
      ...(normed ? [memory.vector(`${at}.qkNorms.q`), memory.vector(`${at}.qkNorms.k`)] : [0, 0]),
      Number(config.qkNorm === 'whole'),
      realArg(this.#config.rmsNormEps),
      realArg(config.clipQkv ?? 0),
      this.#config.rope.dim,
      Number(this.#config.rope.pairs === 'interleaved'),
      offset,
    ]);
    program.barrier();
    program.groupedAttention(tables.attentionTasks, [
      workspace.rowTable,
      workspace.tasks,
      query.address,
      query.strideBytes,
      config.headDim,
      config.numKeyValueHeads,
      config.numAttentionHeads / config.numKeyValueHeads,
      realArg(config.softmaxScale),
      offset,
      workspace.mixed.address,
      workspace.mixed.strideBytes,
    ]);
    program.barrier();
  }

  /** x += W_o mixed. */
  #project(program: ProgramWriter, { workspace, numRows }: PassTables, oProj: Matrix): void {
    const prepared = workspace.prepared(oProj.format, oProj.inDim);
    program.norm({ x: workspace.mixed, dim: oProj.inDim, numRows, prepared: [prepared] });
    program.barrier();
    program.gemm(oProj, prepared, numRows, workspace.x, true);
    program.barrier();
  }
}

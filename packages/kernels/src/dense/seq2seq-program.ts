import { type GqaConfig, isMoeLayer, type ModelConfig, type Seq2SeqConfig } from '@shoal/model';
import type { DenseMemory } from './dense-memory.ts';
import type { LayerProgram, LayerStep } from './layer-program.ts';
import type { PassTables } from './pass.ts';
import type { PreparedRows, ProgramWriter, Rows } from './program.ts';

/** Writes the operations of an encoder–decoder's layers. packages/model/src/seq2seq computes the same. */
export class Seq2SeqProgram {
  readonly #memory: DenseMemory;
  readonly #layers: LayerProgram;
  readonly #config: ModelConfig;
  readonly #seq2seq: Seq2SeqConfig;
  readonly #attention: GqaConfig;

  constructor(memory: DenseMemory, layers: LayerProgram) {
    const { config } = memory;
    if (!config.seq2seq || config.attention.kind !== 'gqa') {
      throw new TypeError(`${config.modelType} is no encoder–decoder`);
    }
    this.#memory = memory;
    this.#layers = layers;
    this.#config = config;
    this.#seq2seq = config.seq2seq;
    this.#attention = config.attention;
  }

  isDecoder(layer: number): boolean {
    return layer >= this.#seq2seq.encoderLayers;
  }

  /**
   * x += add; x += attention(norm(x)), in the decoder then x += attention to the source(norm(x)); then either h = norm(x) and the
   * gate's logits, or x += ffn(norm(x)).
   */
  layerOrGate(step: LayerStep, bank: number, add: readonly Rows[]): 'gate' | 'dense' {
    const { program, tables, prefix, layer } = step;
    const { workspace, numRows } = tables;
    const stack = this.isDecoder(layer) ? 'decoder' : 'encoder';
    const biases = this.#memory.positionBias(bank)?.[stack];
    const h = this.#norm(step, `${prefix}.attentionNorm`, `${prefix}.attention.qProj`, add);
    this.#layers.groupedQuery({ ...step, biases }, this.#attention, h);
    let added = this.#layers.project(step);
    if (stack === 'decoder') {
      const cross = { ...step, prefix: `${prefix}.cross` };
      const queries = this.#norm(step, `${cross.prefix}.norm`, `${cross.prefix}.attention.qProj`, added);
      this.#layers.crossQuery(cross, this.#attention, queries);
      added = this.#layers.project(cross);
    }
    if (!isMoeLayer(this.#config, layer)) {
      this.#dense(step, added);
      return 'dense';
    }
    this.#write(program, tables, `${prefix}.ffnNorm`, { add: added, out: workspace.h });
    const gate = this.#memory.matrix(`${prefix}.ffn.gate.weight`);
    program.gemm(gate, { ...workspace.h, format: 'f32' }, numRows, workspace.gateLogits);
    program.barrier();
    return 'gate';
  }

  /** h = norm(x + add), what the decoder's layers read of the encoder. */
  finishEncoder(program: ProgramWriter, tables: PassTables, add: readonly Rows[]): void {
    this.#write(program, tables, 'encoderNorm', { add, out: tables.workspace.h });
  }

  /** Keeps what attention to the source reads in a decoder's layer, of h. */
  sourceKeysAndValues(step: LayerStep): void {
    const { program, tables, prefix } = step;
    const { workspace, numRows } = tables;
    const { format, inDim } = this.#memory.matrix(`${prefix}.cross.attention.kProj`);
    const input = workspace.prepared(format, inDim);
    program.norm({ x: workspace.h, dim: inDim, numRows, prepared: [input] });
    program.barrier();
    this.#layers.keysAndValues({ ...step, prefix: `${prefix}.cross`, input });
  }

  #dense(step: LayerStep, add: readonly Rows[]): void {
    const { program, tables, prefix } = step;
    const { workspace, numRows } = tables;
    const [up, down] = [this.#memory.matrix(`${prefix}.ffn.up`), this.#memory.matrix(`${prefix}.ffn.down`)];
    const h = this.#norm(step, `${prefix}.ffnNorm`, `${prefix}.ffn.up`, add);
    program.gemm(up, h, numRows, workspace.ffnGate);
    program.barrier();
    const activations = workspace.prepared(down.format, down.inDim);
    const { activation } = this.#config.expert;
    if (activation !== 'relu' && activation !== 'gelu') throw new TypeError(`an FFN with ${activation}`);
    const upBias = this.#vector(`${prefix}.ffn.upBias`);
    program.activate(activation, workspace.ffnGate, down.inDim, upBias, numRows, activations);
    program.barrier();
    program.gemm(down, activations, numRows, workspace.x, true);
    program.barrier();
    const downBias = this.#vector(`${prefix}.ffn.downBias`);
    if (!downBias) return;
    // Now, since the next layer may be in another bank.
    const bias = { address: downBias, strideBytes: 0 };
    program.norm({ x: workspace.x, dim: this.#config.hiddenSize, numRows, add: [bias] });
    program.barrier();
  }

  /** x += add, and its norm, prepared for products with a matrix. */
  #norm({ program, tables }: LayerStep, name: string, matrix: string, add: readonly Rows[]): PreparedRows {
    const { format } = this.#memory.matrix(matrix);
    const prepared = tables.workspace.prepared(format, this.#config.hiddenSize);
    this.#write(program, tables, name, { add, prepared: [prepared] });
    return prepared;
  }

  #write(
    program: ProgramWriter,
    { workspace, numRows }: PassTables,
    name: string,
    to: { add: readonly Rows[]; out?: Rows; prepared?: readonly PreparedRows[] },
  ): void {
    program.norm({
      x: workspace.x,
      dim: this.#config.hiddenSize,
      numRows,
      weight: this.#memory.vector(`${name}.weight`),
      bias: this.#vector(`${name}.bias`),
      eps: this.#config.rmsNormEps,
      ...to,
    });
    program.barrier();
  }

  /** The address of a vector that not every model has; 0 without it. */
  #vector(name: string): number {
    return this.#memory.has(name) ? this.#memory.vector(name) : 0;
  }
}

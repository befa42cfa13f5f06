import { type GqaConfig, isMoeLayer, type ModelConfig } from '@shoal/model';
import type { DenseMemory } from './dense-memory.ts';
import type { LayerProgram, LayerStep } from './layer-program.ts';
import type { PassTables } from './pass.ts';
import type { PreparedRows, ProgramWriter, Rows } from './program.ts';

/** Writes the operations of an encoder. packages/model/src/encoder.ts computes the same. */
export class EncoderProgram {
  readonly #memory: DenseMemory;
  readonly #layers: LayerProgram;
  readonly #config: ModelConfig;
  readonly #attention: GqaConfig;

  constructor(memory: DenseMemory, layers: LayerProgram) {
    const { config } = memory;
    if (!config.encoder || config.attention.kind !== 'gqa') throw new TypeError(`${config.modelType} is no encoder`);
    this.#memory = memory;
    this.#layers = layers;
    this.#config = config;
    this.#attention = config.attention;
  }

  /** x = norm(x + the token type's embedding) */
  embedding(program: ProgramWriter, tables: PassTables): void {
    this.#norm(program, tables, 'embedNorm', this.#vectors('tokenType'));
  }

  /** x = norm(x + attention(x)), then either the gate's logits, or x = norm(x + ffn(x)). */
  layerOrGate(step: LayerStep): 'gate' | 'dense' {
    const { program, tables, prefix, layer } = step;
    const { workspace, numRows } = tables;
    const { hiddenSize } = this.#config;
    const { format } = this.#memory.matrix(`${prefix}.attention.qProj`);
    const h = workspace.prepared(format, hiddenSize);
    program.norm({ x: workspace.x, dim: hiddenSize, numRows, prepared: [h] });
    program.barrier();
    this.#layers.groupedQuery(step, this.#attention, h);
    const add = this.#layers.project(step);
    if (!isMoeLayer(this.#config, layer)) {
      this.#dense(step, add);
      return 'dense';
    }
    this.#norm(program, tables, `${prefix}.attentionNorm`, add);
    const gate = this.#memory.matrix(`${prefix}.ffn.gate.weight`);
    program.gemm(gate, { ...workspace.x, format: 'f32' }, numRows, workspace.gateLogits);
    program.barrier();
    return 'gate';
  }

  /** x = norm(x + the experts' sums + their bias) */
  afterExperts({ program, tables, prefix }: LayerStep): void {
    const add = [tables.workspace.routed, ...this.#vectors(`${prefix}.ffn.bias`)];
    this.#norm(program, tables, `${prefix}.ffnNorm`, add);
  }

  #dense({ program, tables, prefix }: LayerStep, add: readonly Rows[]): void {
    const { workspace, numRows } = tables;
    const [up, down] = [this.#memory.matrix(`${prefix}.ffn.up`), this.#memory.matrix(`${prefix}.ffn.down`)];
    const h = workspace.prepared(up.format, up.inDim);
    this.#norm(program, tables, `${prefix}.attentionNorm`, add, h);
    program.gemm(up, h, numRows, workspace.ffnGate);
    program.barrier();
    const activations = workspace.prepared(down.format, down.inDim);
    const [upBias] = this.#vectors(`${prefix}.ffn.upBias`);
    program.activate('gelu', workspace.ffnGate, down.inDim, upBias?.address ?? 0, numRows, activations);
    program.barrier();
    program.gemm(down, activations, numRows, workspace.x, true);
    program.barrier();
    this.#norm(program, tables, `${prefix}.ffnNorm`, this.#vectors(`${prefix}.ffn.downBias`));
  }

  /** x = LayerNorm(x + add), also prepared for a product. */
  #norm(
    program: ProgramWriter,
    { workspace, numRows }: PassTables,
    name: string,
    add: readonly Rows[],
    prepared?: PreparedRows,
  ): void {
    program.norm({
      x: workspace.x,
      dim: this.#config.hiddenSize,
      numRows,
      weight: this.#memory.vector(`${name}.weight`),
      bias: this.#memory.vector(`${name}.bias`),
      eps: this.#config.rmsNormEps,
      out: workspace.x,
      prepared: prepared ? [prepared] : [],
      add,
    });
    program.barrier();
  }

  /** A vector that not every model has, as rows that are all the same; none without it. */
  #vectors(name: string): Rows[] {
    return this.#memory.has(name) ? [{ address: this.#memory.vector(name), strideBytes: 0 }] : [];
  }
}

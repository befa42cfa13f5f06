import type { EngineContextRow, EngineEagle3Row, HeadConfig, HeadResult, HeadRow } from '@shoal/model';
import { HEAD_SEGMENT } from '@shoal/weights';
import { BankPass, type BankPassOptions, type Output } from './bank-pass.ts';
import type { LayerProgram } from './layer-program.ts';
import type { Matrix, PreparedRows } from './program.ts';

export interface HeadPassOptions extends BankPassOptions {
  head: HeadConfig;
  layers: LayerProgram;
}

const named = (name: string): string => `${HEAD_SEGMENT}.${name}`;

/** One pass of a batch through a head that drafts. packages/model/src/heads computes the same. */
export class HeadPass extends BankPass {
  readonly #options: HeadPassOptions;

  constructor(options: HeadPassOptions, firstBank: number) {
    super(options, firstBank);
    this.#options = options;
  }

  /** As `forwardEagle3`. */
  async eagle3(rows: readonly EngineEagle3Row[]): Promise<HeadResult> {
    const { head, config } = this.#options;
    const ids = rows.map(({ nextTokenId }) => nextTokenId);
    this.embed(this.#embedding(), ids, this.tables.workspace.h);
    await this.enter(HEAD_SEGMENT, ['h']);
    const isOwn = rows[0]!.isOwn;
    this.#readHidden(
      rows.map(({ hidden }) => hidden),
      isOwn,
    );
    const input = this.#joinEmbedding();
    for (let layer = 0; layer < config.numHiddenLayers; layer++) this.#layer(layer, layer === 0 ? input : undefined);
    const after = head.head.kind === 'eagle3' && head.head.goesOnAfterNorm;
    return this.#finish(rows, after);
  }

  /** As `addContext`. */
  async context(rows: readonly EngineContextRow[]): Promise<void> {
    const { memory, layers, config } = this.#options;
    await this.enter(HEAD_SEGMENT, []);
    this.#readHidden(
      rows.map(({ hidden }) => hidden),
      false,
    );
    const { workspace } = this.tables;
    const { hiddenSize: dim, rmsNormEps: eps } = config;
    const input = workspace.prepared(memory.matrix(named('layers.0.attention.kProj')).format, dim);
    const weight = memory.vector(named('hiddenNorm'));
    this.program.norm({ x: workspace.x, dim, numRows: this.numRows, weight, eps, prepared: [input] });
    this.program.barrier();
    for (let layer = 0; layer < config.numHiddenLayers; layer++) {
      const prefix = named(`layers.${layer}`);
      layers.keysAndValues({ program: this.program, tables: this.tables, prefix, layer, input });
    }
    await this.run('move');
  }

  /** As `forwardBlocks`, of the rows of blocks. */
  async blocks(rows: readonly (HeadRow & { tokenId: number })[]): Promise<HeadResult> {
    const { config } = this.#options;
    const ids = rows.map(({ tokenId }) => tokenId);
    this.embed(this.#embedding(), ids, this.tables.workspace.x);
    await this.enter(HEAD_SEGMENT, ['x']);
    for (let layer = 0; layer < config.numHiddenLayers; layer++) this.#layer(layer, undefined);
    return this.#finish(rows, true);
  }

  #embedding(): Matrix {
    const { memory } = this.#options;
    return memory.matrix(memory.has(named('embedTokens')) ? named('embedTokens') : 'embedTokens');
  }

  /** x = the hidden states of the position: the head's own, or `fc` of several of the target's. */
  #readHidden(hidden: readonly Float32Array[], isOwn: boolean): void {
    const { memory, head } = this.#options;
    const { workspace } = this.tables;
    if (isOwn) return this.writeRows(workspace.x, joinRows(hidden));
    const states = workspace.ffnGate;
    this.writeRows(states, joinRows(hidden));
    const fc = memory.matrix(named('fc'));
    const prepared = workspace.prepared(fc.format, fc.inDim);
    const { numRows, program } = this;
    const { rmsNormEps: eps } = head.transformer;
    const isWhole = memory.has(named('inputNorm'));
    const isEach = memory.has(named('fcNorms.0'));
    if (isEach) this.#normEach();
    program.norm({
      x: isEach ? { ...states, address: workspace.ffnUp } : states,
      dim: fc.inDim,
      numRows,
      prepared: [prepared],
      ...(isWhole && { weight: memory.vector(named('inputNorm')), eps }),
    });
    program.barrier();
    program.gemm(fc, prepared, numRows, workspace.x);
    program.barrier();
  }

  /** Normalises each of the target's hidden states, from `ffnGate` into `ffnUp`. */
  #normEach(): void {
    const { memory, head } = this.#options;
    const { auxiliaryLayers, targetHiddenSize: dim, transformer } = head;
    const { ffnGate, ffnUp } = this.tables.workspace;
    const place = (from: number, i: number) => ({ address: from + i * dim * 4, strideBytes: ffnGate.strideBytes });
    for (const i of auxiliaryLayers.keys()) {
      const weight = memory.vector(named(`fcNorms.${i}`));
      const [x, out] = [place(ffnGate.address, i), place(ffnUp, i)];
      this.program.norm({ x, dim, numRows: this.numRows, weight, eps: transformer.rmsNormEps, out });
      // One after the other: an output row is padded behind its end, where the next begins.
      this.program.barrier();
    }
  }

  /** The first layer's input: [norm of the embedding ; norm of the hidden state]. */
  #joinEmbedding(): PreparedRows {
    const { memory, head } = this.#options;
    const { hiddenSize: dim, rmsNormEps: eps } = head.transformer;
    const { workspace } = this.tables;
    const { numRows, program } = this;
    const both = workspace.ffnGate;
    const second = { address: both.address + dim * 4, strideBytes: both.strideBytes };
    const inputNorm = memory.vector(named('layers.0.inputLayernorm'));
    const hiddenNorm = memory.vector(named('hiddenNorm'));
    program.norm({ x: workspace.h, dim, numRows, weight: inputNorm, eps, out: both });
    program.barrier();
    program.norm({ x: workspace.x, dim, numRows, weight: hiddenNorm, eps, out: second });
    program.barrier();
    if (head.head.kind === 'eagle3' && head.head.normBeforeResidual) {
      program.norm({ x: workspace.x, dim, numRows, weight: hiddenNorm, eps, out: workspace.x });
    }
    const prepared = workspace.prepared(memory.matrix(named('layers.0.attention.qProj')).format, 2 * dim);
    program.norm({ x: both, dim: 2 * dim, numRows, prepared: [prepared] });
    program.barrier();
    return prepared;
  }

  #layer(layer: number, input: PreparedRows | undefined): void {
    const { layers } = this.#options;
    const step = { program: this.program, tables: this.tables, prefix: named(`layers.${layer}`), layer, input };
    layers.ffnOrGate(step, layers.attention(step, []));
  }

  async #finish(rows: readonly HeadRow[], isAfterNorm: boolean): Promise<HeadResult> {
    const { memory, config } = this.#options;
    const { workspace } = this.tables;
    const { hiddenSize: dim, rmsNormEps: eps } = config;
    const weight = memory.vector(named('norm'));
    const { bank } = this;
    this.program.norm({ x: workspace.x, dim, numRows: this.numRows, weight, eps, out: workspace.h });
    this.program.barrier();
    const output = this.#output();
    if (!memory.has(named('lmHead'))) await this.enter('head', ['h']);
    const noMasks = rows.map(() => undefined);
    const { logits, answers } = await this.answers(rows, noMasks, output);
    await this.run('head');
    const normed = this.readRows(this.tables.workspace.h, dim);
    this.faults.check(normed, () => "the head's norm before its output");
    const hidden = isAfterNorm ? normed : this.readRows(workspace.x, dim, bank);
    return this.faults.into({ logits, answers, hidden });
  }

  #output(): Output {
    const { memory, head } = this.#options;
    const own = [named('lmHead'), 'lmHead', 'embedTokens'].find((name) => memory.has(name))!;
    return { matrix: memory.matrix(own), size: head.draftVocabSize, divisor: 1 };
  }
}

function joinRows(rows: readonly Float32Array[]): Float32Array {
  const width = rows[0]!.length;
  const all = new Float32Array(rows.length * width);
  for (const [r, row] of rows.entries()) all.set(row, r * width);
  return all;
}

import {
  addBias,
  addSinusoid,
  Auxiliary,
  type EncodeResult,
  type ExpertDispatch,
  type ForwardResult,
  gateWidth,
  type HeadRow,
  masksAfterLayers,
  numDecoderLayers,
  routeRows,
  type SettledMask,
} from '@shoal/model';
import { BankPass, type BankPassOptions } from './bank-pass.ts';
import type { EncoderProgram } from './encoder-program.ts';
import type { LayerProgram, LayerStep } from './layer-program.ts';
import type { Seq2SeqProgram } from './seq2seq-program.ts';

export interface PassOptions extends BankPassOptions {
  layers: LayerProgram;
  experts: ExpertDispatch;
  /** As in `RoutedPass`. */
  lengths?: readonly number[] | undefined;
}

/** One pass of a batch through the main model or its MTP module: the calling thread also chooses experts from the gate's logits. */
export class ForwardPass extends BankPass {
  readonly #options: PassOptions;
  readonly #auxiliary: Auxiliary;
  /** Sums that the next norm adds to x first. */
  #pending: ('routed' | 'shared')[] = [];

  constructor(options: PassOptions, firstBank: number) {
    super(options, firstBank);
    this.#options = options;
    const { memory, kv } = options;
    const layers = kv === 'main' ? (memory.head?.config.auxiliaryLayers ?? []) : [];
    this.#auxiliary = new Auxiliary(layers, this.numRows, memory.config.hiddenSize);
  }

  /** Continues in the bank of the next layers. */
  async enterLayers(segment: string): Promise<void> {
    await this.enter(segment, ['x', ...this.#pending]);
  }

  /** MTP's input from x, the embeddings: x = eh_proj([enorm(x) ; hnorm(hidden)]) (DeepSeek-V3 paper §2.2). */
  joinHidden(hidden: readonly Float32Array[]): void {
    const { memory } = this.#options;
    const { hiddenSize: dim, rmsNormEps: eps } = memory.config;
    const { workspace } = this.tables;
    const numRows = this.numRows;
    for (const [r, row] of hidden.entries()) {
      this.views.f32.set(row, (workspace.h.address + r * workspace.h.strideBytes) / 4);
    }
    const ehProj = memory.matrix('mtp.ehProj');
    const both = workspace.ffnGate;
    const second = { address: both.address + dim * 4, strideBytes: both.strideBytes };
    // One after the other: an output row is padded behind its end, where the second begins.
    this.program.norm({ x: workspace.x, dim, numRows, weight: memory.vector('mtp.enorm'), eps, out: both });
    this.program.barrier();
    this.program.norm({ x: workspace.h, dim, numRows, weight: memory.vector('mtp.hnorm'), eps, out: second });
    this.program.barrier();
    const prepared = workspace.prepared(ehProj.format, ehProj.inDim);
    this.program.norm({ x: both, dim: 2 * dim, numRows, prepared: [prepared] });
    this.program.barrier();
    this.program.gemm(ehProj, prepared, numRows, workspace.x);
    this.program.barrier();
  }

  /** Computes a layer; `layer` is its index for the experts, `prefix` that of its weights' names. */
  async decoderLayer(prefix: string, layer: number): Promise<void> {
    if (this.#options.kv === 'main') await this.#takeAuxiliary(layer);
    const { layers } = this.#options;
    const { workspace } = this.tables;
    this.layer = layer;
    const add = this.#pending.map((name) => workspace[name]);
    this.#pending = [];
    const step = { program: this.program, tables: this.tables, prefix, layer };
    const computed = layers.ffnOrGate(step, layers.attention(step, add));
    if (computed === 'shared') this.#pending = ['shared'];
    if (computed !== 'gate') return this.program.isLong ? this.run('dense') : undefined;
    await this.run('gate');
    await this.#routedExperts(step, 'h');
  }

  /** The same of an encoder's layer. */
  async encoderLayer(encoder: EncoderProgram, layer: number): Promise<void> {
    this.layer = layer;
    const step = { program: this.program, tables: this.tables, prefix: `layers.${layer}`, layer };
    if (encoder.layerOrGate(step) !== 'gate') return this.program.isLong ? this.run('dense') : undefined;
    await this.run('gate');
    await this.#routedExperts(step, 'x');
    this.#pending = [];
    encoder.afterExperts(step);
  }

  /** x += the sinusoids of the rows' places (addSinusoid), which padding tokens don't have. */
  addSinusoids(places: readonly number[], padTokenId: number): void {
    const { hiddenSize: dim } = this.#options.memory.config;
    const { x, h } = this.tables.workspace;
    const values = new Float32Array(places.length * dim);
    for (const [r, place] of places.entries()) addSinusoid(values.subarray(r * dim, (r + 1) * dim), place, padTokenId);
    this.writeRows(h, values);
    this.program.norm({ x, dim, numRows: this.numRows, add: [h] });
    this.program.barrier();
  }

  /** The same of a layer of an encoder–decoder. */
  async seq2seqLayer(seq2seq: Seq2SeqProgram, layer: number): Promise<void> {
    this.layer = layer;
    const step = { program: this.program, tables: this.tables, prefix: `layers.${layer}`, layer };
    const add = this.#pending.map((name) => step.tables.workspace[name]);
    this.#pending = [];
    if (seq2seq.layerOrGate(step, this.bank, add) !== 'gate')
      return this.program.isLong ? this.run('dense') : undefined;
    await this.run('gate');
    await this.#routedExperts(step, 'h');
  }

  /** Ends the encoder of an encoder–decoder: keeps what each of the decoder's layers reads of the rows. */
  async keepSources(seq2seq: Seq2SeqProgram): Promise<Pick<EncodeResult, 'faults'>> {
    const { memory } = this.#options;
    const { numHiddenLayers, hiddenSize } = memory.config;
    await this.enterLayers('encoder');
    const add = this.#pending.map((name) => this.tables.workspace[name]);
    this.#pending = [];
    seq2seq.finishEncoder(this.program, this.tables, add);
    await this.run('dense');
    this.faults.check(this.readRows(this.tables.workspace.h, hiddenSize), () => 'the norm after the encoder');
    for (let layer = numHiddenLayers - numDecoderLayers(memory.config); layer < numHiddenLayers; layer++) {
      await this.enter(`layers.${layer}`, ['h']);
      this.layer = layer;
      const step = { program: this.program, tables: this.tables, prefix: `layers.${layer}`, layer };
      seq2seq.sourceKeysAndValues(step);
      if (this.program.isLong) await this.run('dense');
    }
    await this.run('dense');
    return { faults: this.faults.into({ answers: [] }).faults };
  }

  /** An encoder's result, x. */
  async finishEncoder(): Promise<EncodeResult> {
    await this.run('head');
    const hidden = this.readRows(this.tables.workspace.x, this.#options.memory.config.hiddenSize);
    this.faults.check(hidden, () => 'the hidden state after the last layer');
    return { hidden, faults: this.faults.into({ answers: [] }).faults };
  }

  /**
   * Adds the pending sums to x, and computes its norm [numRows, hiddenSize] and what the rows need of their logits. The masks
   * are awaited before the head.
   */
  async finish(
    norm: { weight: string; bias?: string },
    wanted: readonly HeadRow[],
    masks: Promise<readonly SettledMask[]>,
  ): Promise<ForwardResult> {
    const { memory } = this.#options;
    const { hiddenSize, rmsNormEps, residualMultiplier } = memory.config;
    const { workspace } = this.tables;
    if (this.#options.kv === 'main') await this.#takeAuxiliary(memory.config.numHiddenLayers);
    const normBank = this.bank;
    this.program.norm({
      x: workspace.x,
      dim: hiddenSize,
      numRows: this.numRows,
      weight: memory.vector(norm.weight),
      bias: norm.bias !== undefined && memory.has(norm.bias) ? memory.vector(norm.bias) : 0,
      eps: rmsNormEps,
      out: workspace.h,
      add: this.#pending.map((name) => workspace[name]),
      factor: residualMultiplier,
    });
    this.program.barrier();
    await this.enter('head', ['h']);
    const settledMasks = await masksAfterLayers(masks, this.layer, this.#options.observe);
    const output = {
      matrix: memory.matrix(memory.has('lmHead') ? 'lmHead' : 'embedTokens'),
      size: memory.config.vocabSize,
      divisor: memory.config.logitsDivisor,
    };
    const { logits, answers } = await this.answers(wanted, settledMasks, output);
    await this.run('head');
    // The head leaves x as the norm has written it, in the norm's bank.
    const normed = this.readRows(this.tables.workspace.h, hiddenSize);
    this.faults.check(normed, () => 'the input of the output head, which is from the layers after the last experts,');
    const hidden = memory.config.mtpHidden === 'after-norm' ? normed : this.readRows(workspace.x, hiddenSize, normBank);
    return this.faults.into({ logits, answers, hidden, normed, ...this.#auxiliary.result });
  }

  /** Takes the input of a layer, if it is asked for: x and the sums that the layer's norm is to add. */
  async #takeAuxiliary(layer: number): Promise<void> {
    if (!this.#auxiliary.has(layer)) return;
    await this.run('move');
    const { hiddenSize, residualMultiplier } = this.#options.memory.config;
    const { workspace } = this.tables;
    const x = this.readRows(workspace.x, hiddenSize);
    for (const name of this.#pending) {
      const sum = this.readRows(workspace[name], hiddenSize);
      for (let i = 0; i < x.length; i++) x[i] = x[i]! + residualMultiplier * sum[i]!;
    }
    this.#auxiliary.take(layer, x);
  }

  /** Chooses experts for `input` and dispatches the lap. The shared expert is computed while the lap is in flight. */
  async #routedExperts(step: LayerStep, input: 'x' | 'h'): Promise<void> {
    const { prefix, layer } = step;
    const { memory, layers, experts, observe, lengths } = this.#options;
    const { config } = memory;
    const { workspace } = this.tables;
    const logits = this.readRows(workspace.gateLogits, gateWidth(config));
    if (config.gate.hasLogitBias) addBias(logits, memory.vectorValues(`${prefix}.ffn.gate.logitBias`));
    const bias = config.gate.hasBias ? memory.vectorValues(`${prefix}.ffn.gate.bias`) : null;
    const x = this.readRows(workspace[input], config.hiddenSize);
    const before = layer === 0 ? 'its attention' : 'its attention, or the FFN or shared expert of a layer before';
    this.faults.check(x, () => `the input of the experts of layer ${layer}, which is from ${before},`);
    const pass = { config, experts, observe, faults: this.faults, lengths };
    const { call, rowSums } = routeRows(pass, { layer, x, logits, bias });
    const handle = experts.dispatch(call);
    const hasShared = layers.hasSharedExpert(prefix);
    if (hasShared) layers.sharedExpert(step);
    this.writeRows(workspace.routed, rowSums(await this.#lap(layer, handle)));
    this.#pending = hasShared ? ['shared', 'routed'] : ['routed'];
  }

  /** Awaits the lap's sum, and runs the collected operations meanwhile. */
  async #lap(layer: number, handle: { combine(): Promise<Float32Array> }): Promise<Float32Array> {
    const { observe } = this.#options;
    let isBack = false;
    const lap = handle.combine().finally(() => (isBack = true));
    const own = this.run('shared-expert').then(() => {
      if (!isBack) observe.waits?.(layer);
    });
    const [routed] = await settled(lap, own).finally(() => observe.resumes?.(layer));
    return routed;
  }
}

/** Awaits both, and then throws the first error, since threads must not go on in memory that was given back. */
async function settled<A, B>(a: Promise<A>, b: Promise<B>): Promise<[A, B]> {
  const [first, second] = await Promise.allSettled([a, b]);
  if (first.status === 'rejected') throw first.reason;
  if (second.status === 'rejected') throw second.reason;
  return [first.value, second.value];
}

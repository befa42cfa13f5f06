import type { Adapter, EngineAdapter } from './adapters/adapter.ts';
import { checkScalings } from './adapters/mixture.ts';
import type { ExpertDispatch } from './dispatch.ts';
import { encode, type EncoderModel, type EncodeResult } from './encoder.ts';
import { forward, type ForwardResult, type ForwardRow, type Model, type ReferenceRow } from './forward.ts';
import type { DraftHead } from './heads/draft-head.ts';
import { createReferenceHead, type HeadEngine } from './heads/head-engine.ts';
import { KvCache } from './kv-cache.ts';
import type { KvPaging } from './kv-paging.ts';
import type { ForwardObserver } from './forward-observer.ts';
import { type ModelConfig, numDecoderLayers } from './model-config.ts';
import type { SequenceCache, SequencePages } from './sequence-cache.ts';
import { forwardMtp, type MtpRow, NO_MTP } from './mtp.ts';
import { decode, type TargetRow } from './seq2seq/decode.ts';
import { readSources } from './seq2seq/encode-source.ts';
import type { EngineSource } from './seq2seq/engine-source.ts';
import { ReferenceSource, type Seq2SeqModel } from './seq2seq/model.ts';

/** Size of a paged KV cache. */
export interface KvPageBudget {
  numPages: number;
  /** Positions of a page. */
  pagePositions: number;
  bytesPerPage: number;
  /** Which layers a page holds; all of them by default. */
  paging?: KvPaging;
}

/** One token of one sequence. */
export type EngineRow = ForwardRow<SequenceCache>;
/** One position of one sequence for the MTP module; `cache` comes from `newMtpSequence` or `mtpSequenceOn`. */
export type EngineMtpRow = MtpRow<SequenceCache>;

/**
 * The dense engine: computes everything but the routed experts. A row's result is bit for bit independent of the other rows of
 * a call (provided `experts` is). When a call fails, every cache is as it was before. Calls may overlap if they share no
 * sequence: while one awaits its lap another's layers are computed, and one's failure does not affect the other. A sequence is
 * in one call at a time, and is freed only after that call has ended.
 */
export interface ForwardEngine {
  readonly name: 'reference' | 'wasm';
  readonly config: ModelConfig;
  /** Bytes of KV cache of one position of one sequence, in all layers; windows give theirs back. */
  readonly kvBytesPerToken: number;
  /** The same for the MTP module's own KV cache; 0 without such a module. */
  readonly mtpKvBytesPerToken: number;
  /**
   * Lends the pages of the KV cache to a caller that shares them out between sequences; `newSequence` must not be called after
   * that. Returns undefined where the cache is not paged and has no limit.
   */
  lendPages(): KvPageBudget | undefined;
  /** A sequence on lent pages. Throws a TypeError if no pages were lent. */
  sequenceOn(pages: SequencePages): SequenceCache;
  /**
   * The MTP module's cache of a sequence on lent pages, each of which has room for it. It begins with `length` positions, which
   * were computed before. Throws as `sequenceOn` and `newMtpSequence` do.
   */
  mtpSequenceOn(pages: SequencePages, length: number): SequenceCache;
  /** [hiddenSize], the gain of the norm before a layer's experts; the MTP module's layer is `numHiddenLayers`. */
  expertNormGain(layer: number): Float32Array;
  newSequence(): SequenceCache;
  /**
   * Loads an adapter, whose matrices it copies or keeps. Throws an AdapterError (`too-large`) if there is no room for it beside
   * those that are loaded.
   */
  openAdapter(adapter: Adapter): EngineAdapter;
  /** Throws a RangeError if the model has no MTP module. */
  newMtpSequence(): SequenceCache;
  /** As `forward`, errors included. */
  forward(rows: readonly EngineRow[], experts: ExpertDispatch, observe?: ForwardObserver): Promise<ForwardResult>;
  /** As `forwardMtp`, errors included. */
  forwardMtp(rows: readonly EngineMtpRow[], experts: ExpertDispatch, observe?: ForwardObserver): Promise<ForwardResult>;
  /** As `encode`, errors included. Only the engine of an encoder has it, and that has no sequences and no `forward`. */
  encode?(
    sequences: readonly (readonly number[])[],
    experts: ExpertDispatch,
    observe?: ForwardObserver,
  ): Promise<EncodeResult>;
  /**
   * Runs an encoder–decoder's encoder on whole sources: each as what `ForwardRow.source` takes, or why it can't be. Only the engine of
   * such a model has it; its `forward` is the decoder's. Throws a RangeError that names a source of no or too many tokens.
   */
  readSources?(
    sources: readonly (readonly number[])[],
    experts: ExpertDispatch,
    observe?: ForwardObserver,
  ): Promise<(EngineSource | Error)[]>;
  /** The head that reads this model's hidden states, where the engine was opened with one. */
  readonly head?: HeadEngine | undefined;
  /** Ends the engine's threads. Not to be used afterwards. */
  close(): Promise<void>;
}

/** Of an adapter's matrices that an engine loads, as float32. */
function denseBytes({ bytes, expertBytes, mixture }: Adapter): number {
  return bytes - expertBytes - (mixture?.bytes ?? 0);
}

/** Keeps the adapter's own matrices. */
class ReferenceAdapter implements EngineAdapter {
  readonly bytes: number;
  #adapter: Adapter | undefined;

  constructor(adapter: Adapter) {
    this.#adapter = adapter;
    this.bytes = denseBytes(adapter);
  }

  get adapter(): Adapter {
    if (!this.#adapter) throw new TypeError('this adapter was freed');
    return this.#adapter;
  }

  free(): void {
    this.#adapter = undefined;
  }
}

function withAdapter(row: ForwardRow): ReferenceRow {
  const { adapter } = row;
  if (adapter === undefined) return { ...row, adapter };
  if (adapter instanceof ReferenceAdapter) {
    checkScalings(adapter.adapter.mixture, row.scalings);
    return { ...row, adapter: adapter.adapter };
  }
  throw new TypeError("an adapter of another engine: use this engine's openAdapter()");
}

const noPages = (): never => {
  throw new TypeError('the reference engine has no pages to lend');
};

/** Rows with this engine's own caches. Throws a TypeError for another's. */
function own<Row extends { cache: SequenceCache }>(rows: readonly Row[]): (Row & { cache: KvCache })[] {
  return rows.map((row) => {
    if (row.cache instanceof KvCache) return { ...row, cache: row.cache };
    throw new TypeError("a sequence of another engine: use this engine's newSequence()");
  });
}

/** This package's forward, in float32 with sums in float64, on the calling thread: the reference that other engines must match. */
export function createReferenceEngine(plain: Model, head?: DraftHead): ForwardEngine {
  const model = { ...plain, auxiliaryLayers: head?.config.auxiliaryLayers };
  return {
    name: 'reference',
    config: model.config,
    kvBytesPerToken: new KvCache(model.config).bytesPerToken,
    mtpKvBytesPerToken: model.weights.mtp ? new KvCache(model.config, 1).bytesPerToken : 0,
    lendPages: () => undefined,
    sequenceOn: noPages,
    mtpSequenceOn: noPages,
    expertNormGain: (layer) => {
      const { layers, mtp } = model.weights;
      return (layer === model.config.numHiddenLayers ? mtp!.layer : layers[layer]!).postAttentionLayernorm;
    },
    newSequence: () => new KvCache(model.config),
    openAdapter: (adapter) => new ReferenceAdapter(adapter),
    newMtpSequence: () => {
      if (!model.weights.mtp) throw new RangeError(NO_MTP);
      return new KvCache(model.config, 1);
    },
    forward: async (rows, experts, observe) => forward(model, own(rows).map(withAdapter), experts, observe),
    forwardMtp: async (rows, experts, observe) => forwardMtp(model, own(rows), experts, observe),
    ...(head && { head: createReferenceHead(head, model) }),
    close: async () => {},
  };
}

/** Throws a TypeError for rows without a source, or with another engine's. */
function withSource({ source, adapter, ...row }: ForwardRow): TargetRow {
  if (adapter) throw new TypeError('adapters of encoder–decoders are not computed');
  if (source instanceof ReferenceSource) return { ...row, source };
  throw new TypeError(
    source ? "a source of another engine: use this engine's readSources()" : 'a row without a source',
  );
}

/** The reference engine of an encoder–decoder. */
export function createReferenceSeq2Seq(model: Seq2SeqModel): ForwardEngine {
  const { config } = model;
  const newSequence = (): KvCache => new KvCache(config, numDecoderLayers(config));
  const noMtp = (): never => {
    throw new RangeError(NO_MTP);
  };
  return {
    name: 'reference',
    config,
    kvBytesPerToken: newSequence().bytesPerToken,
    mtpKvBytesPerToken: 0,
    lendPages: () => undefined,
    sequenceOn: noPages,
    mtpSequenceOn: noPages,
    expertNormGain: (layer) => model.weights.layers[layer]!.ffnNorm.weight,
    newSequence,
    openAdapter: () => {
      throw new RangeError('adapters of encoder–decoders are not computed');
    },
    newMtpSequence: noMtp,
    forward: async (rows, experts, observe) => decode(model, own(rows).map(withSource), experts, observe),
    forwardMtp: async () => noMtp(),
    readSources: async (sources, experts, observe) => readSources(model, sources, experts, observe),
    close: async () => {},
  };
}

const noText = (): never => {
  throw new TypeError('an encoder makes no text: call encode()');
};

/** The reference engine of an encoder. */
export function createReferenceEncoder(model: EncoderModel): ForwardEngine {
  return {
    name: 'reference',
    config: model.config,
    kvBytesPerToken: 0,
    mtpKvBytesPerToken: 0,
    lendPages: () => undefined,
    sequenceOn: noText,
    mtpSequenceOn: noText,
    expertNormGain: (layer) => model.weights.layers[layer]!.attentionNorm.weight,
    newSequence: noText,
    openAdapter: () => {
      throw new RangeError('adapters of encoders are not computed');
    },
    newMtpSequence: noText,
    forward: async () => noText(),
    forwardMtp: async () => noText(),
    encode: async (sequences, experts, observe) => encode(model, sequences, experts, observe),
    close: async () => {},
  };
}

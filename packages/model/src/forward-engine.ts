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
import type { Seq2SeqModel } from './seq2seq/model.ts';
import { SourcedCache } from './seq2seq/sourced-cache.ts';

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
/** A whole source of an encoder–decoder model, and the sequence that is to read it, which holds nothing yet. */
export interface EngineSource {
  ids: readonly number[];
  cache: SequenceCache;
}
/** One position of one sequence for the MTP module; `cache` comes from `newMtpSequence` or `mtpSequenceOn`. */
export type EngineMtpRow = MtpRow<SequenceCache>;

export interface SourceResult {
  /** Per source: why it is no longer finite. Absent if all are. */
  faults?: readonly (Error | undefined)[] | undefined;
}

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
  /** [hiddenSize], a token's embedding as it is stored. Runs no pass. Throws a RangeError for an id that no token has. */
  tokenEmbedding(id: number): Float32Array;
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
   * Encodes sources, each for its own sequence: afterwards the sequence holds a position for each token of its source, and `forward`
   * continues behind them with the answer. A source's result is bit for bit independent of the others (provided `experts` is).
   * Only the engine of an encoder–decoder model has it, and `forward` then takes only sequences whose source is encoded.
   */
  encodeSources?(
    sources: readonly EngineSource[],
    experts: ExpertDispatch,
    observe?: ForwardObserver,
  ): Promise<SourceResult>;
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
    tokenEmbedding: (id) => embeddingOf(id, model),
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

function embeddingOf(
  id: number,
  { config, weights }: Pick<Model | EncoderModel | Seq2SeqModel, 'config' | 'weights'>,
): Float32Array {
  const { hiddenSize, vocabSize } = config;
  if (!(id >= 0 && id < vocabSize)) throw new RangeError(`no token has the id ${id}`);
  return weights.embedTokens.slice(id * hiddenSize, (id + 1) * hiddenSize);
}

/** A decoder's row behind its source. Throws a RangeError without one. */
function behindSource({ cache, position, slots, adapter, ...row }: EngineRow, r: number): TargetRow {
  if (adapter) throw new TypeError('adapters of encoder–decoders are not computed');
  const { source, target } = ownSourced(cache);
  if (!source) throw new RangeError(`row ${r}: its sequence has no source: call encodeSources() first`);
  const behind = slots?.map((slot) => slot - source.length);
  return { ...row, source, cache: target, position: position - source.length, slots: behind };
}

function ownSourced(cache: SequenceCache): SourcedCache {
  if (cache instanceof SourcedCache) return cache;
  throw new TypeError("a sequence of another engine: use this engine's newSequence()");
}

/** The reference engine of an encoder–decoder. */
export function createReferenceSeq2Seq(model: Seq2SeqModel): ForwardEngine {
  const { config } = model;
  const newTarget = (): KvCache => new KvCache(config, numDecoderLayers(config));
  const noMtp = (): never => {
    throw new RangeError(NO_MTP);
  };
  return {
    name: 'reference',
    config,
    kvBytesPerToken: newTarget().bytesPerToken,
    mtpKvBytesPerToken: 0,
    lendPages: () => undefined,
    sequenceOn: noPages,
    mtpSequenceOn: noPages,
    expertNormGain: (layer) => model.weights.layers[layer]!.ffnNorm.weight,
    tokenEmbedding: (id) => embeddingOf(id, model),
    newSequence: () => new SourcedCache(newTarget()),
    openAdapter: () => {
      throw new RangeError('adapters of encoder–decoders are not computed');
    },
    newMtpSequence: noMtp,
    forward: async (rows, experts, observe) => decode(model, rows.map(behindSource), experts, observe),
    forwardMtp: async () => noMtp(),
    encodeSources: async (sources, experts, observe) => {
      const caches = sources.map(({ cache }) => ownSourced(cache));
      const used = caches.findIndex(({ length }) => length > 0);
      if (used >= 0)
        throw new RangeError(`source ${used}: its sequence holds ${caches[used]!.length} positions already`);
      const read = await readSources(
        model,
        sources.map(({ ids }) => ids),
        experts,
        observe,
      );
      for (const [i, source] of read.entries()) if (!(source instanceof Error)) caches[i]!.source = source;
      if (!read.some((source) => source instanceof Error)) return {};
      return { faults: read.map((source) => (source instanceof Error ? source : undefined)) };
    },
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
    tokenEmbedding: (id) => embeddingOf(id, model),
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

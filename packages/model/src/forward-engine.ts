import type { ExpertDispatch } from './dispatch.ts';
import { forward, type ForwardResult, type Model } from './forward.ts';
import { KvCache } from './kv-cache.ts';
import type { ForwardObserver } from './layer.ts';
import type { ModelConfig } from './model-config.ts';
import { forwardMtp, NO_MTP } from './mtp.ts';
import type { TokenQuery } from './token-query.ts';

/** What attention remembers of one sequence. Belongs to the engine that made it. */
export interface SequenceCache {
  /** Positions held; the next one to be written. */
  readonly length: number;
  readonly allocatedBytes: number;
  /** Forget all positions from `length` on. */
  truncate(length: number): void;
  /** Give all memory back; not to be used afterwards. */
  free(): void;
}

/** What there is of a paged KV cache. */
export interface KvPageBudget {
  numPages: number;
  /** Positions of a page. */
  pagePositions: number;
  bytesPerPage: number;
}

/** Which pages a sequence has, by number and in order; who gives them out keeps count. */
export interface SequencePages {
  readonly pages: readonly number[];
  /** Positions held. */
  readonly length: number;
  append(count: number): void;
  /** Have pages for `length` positions, of which none counts as held yet. */
  reach(length: number): void;
  truncate(length: number): void;
  close(): void;
}

/** One token of one sequence. */
export interface EngineRow {
  tokenId: number;
  /** From 0; the first row of a sequence continues at its cache's length, the next one follows. */
  position: number;
  cache: SequenceCache;
  query?: TokenQuery | undefined;
  /** All of its logits, for whoever cannot say what for. */
  wantLogits?: boolean | undefined;
}

/** One position of one sequence, as the MTP module sees it. */
export interface EngineMtpRow {
  /** [hiddenSize], the main model's hidden state at `position`, after its final norm or before it: see `forwardMtp`. */
  hidden: Float32Array;
  /** The token at `position` + 1. */
  nextTokenId: number;
  position: number;
  /** From `newMtpSequence` or `mtpSequenceOn`. */
  cache: SequenceCache;
  query?: TokenQuery | undefined;
  /** All of its logits, for whoever cannot say what for. */
  wantLogits?: boolean | undefined;
}

/**
 * Whoever computes everything but the routed experts. Results of a row are bit for bit independent of the other rows of a call
 * (provided `experts` is). When a call fails, the error is passed on with every cache as it was before. Calls may overlap, each
 * with sequences of its own: while one awaits its lap another's layers are computed, and neither's failure is the other's. A
 * sequence is in one call at a time, and is freed only when that has ended.
 */
export interface ForwardEngine {
  readonly name: 'reference' | 'wasm';
  readonly config: ModelConfig;
  /** Of the KV cache, for one more position of one sequence. */
  readonly kvBytesPerToken: number;
  /** Of the MTP module's own KV cache; 0 without such a module. */
  readonly mtpKvBytesPerToken: number;
  /**
   * Hands the pages of the KV cache to a caller who gives them out, to share them between sequences; `newSequence` is then not
   * to be called any more. undefined where the cache is not paged, and nothing bounds it.
   */
  lendPages(): KvPageBudget | undefined;
  /** A sequence on lent pages. Throws a TypeError where there are none. */
  sequenceOn(pages: SequencePages): SequenceCache;
  /**
   * The MTP module's cache of a sequence on lent pages: a page has a place for it too. It begins with `length` positions, which
   * somebody else has computed. Throws as `sequenceOn` and `newMtpSequence` do.
   */
  mtpSequenceOn(pages: SequencePages, length: number): SequenceCache;
  /** [hiddenSize], the gain of the norm before a layer's experts; the MTP module's layer is `numHiddenLayers`. */
  expertNormGain(layer: number): Float32Array;
  newSequence(): SequenceCache;
  /** Throws a RangeError where the model has no MTP module. */
  newMtpSequence(): SequenceCache;
  /** As `forward`, errors included. */
  forward(rows: readonly EngineRow[], experts: ExpertDispatch, observe?: ForwardObserver): Promise<ForwardResult>;
  /** As `forwardMtp`: throws a RangeError where the model has no MTP module. */
  forwardMtp(rows: readonly EngineMtpRow[], experts: ExpertDispatch, observe?: ForwardObserver): Promise<ForwardResult>;
  /** Ends its threads; not to be used afterwards. */
  close(): Promise<void>;
}

const noPages = (): never => {
  throw new TypeError('the reference engine has no pages to lend');
};

/** The forward of this package, in float32 with sums in float64, on the calling thread: what other engines are held against. */
export function createReferenceEngine(model: Model): ForwardEngine {
  const own = (cache: SequenceCache): KvCache => {
    if (cache instanceof KvCache) return cache;
    throw new TypeError("a sequence of another engine: use this engine's newSequence()");
  };
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
    newMtpSequence: () => {
      if (!model.weights.mtp) throw new RangeError(NO_MTP);
      return new KvCache(model.config, 1);
    },
    forward: async (rows, experts, observe) =>
      forward(
        model,
        rows.map((row) => ({ ...row, cache: own(row.cache) })),
        experts,
        observe,
      ),
    forwardMtp: async (rows, experts, observe) =>
      forwardMtp(
        model,
        rows.map((row) => ({ ...row, cache: own(row.cache) })),
        experts,
        observe,
      ),
    close: async () => {},
  };
}

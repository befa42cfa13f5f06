import type { SequenceCache } from '@shoal/model';
import { ConstraintGuard } from './constraint-guard.ts';
import {
  type DeviceLimitUsage,
  GenerationError,
  type GenerationEvent,
  type GenerationRequest,
  type SpeculationUsage,
} from './generation.ts';
import type { PagedSequence } from './kv/paged-sequence.ts';
import { Sampling, type SamplingModel } from './sampling.ts';
import type { StreamSpeculation } from './speculation/stream.ts';

export interface SequenceOptions extends Partial<SamplingModel> {
  /** The server's device limit, for requests that name none. */
  deviceLimit?: number;
  /** A clock in milliseconds, for its constraint. */
  now?: () => number;
}

/** One request in progress: its tokens, its KV cache, and the events that its reader has not taken yet. */
export class Sequence {
  readonly request: GenerationRequest;
  /** On the scheduler's clock, like its other times. */
  readonly createdMs: number;
  /** [tokens] Prompt, then answer. */
  readonly ids: number[];
  readonly sampling: Sampling;
  /** Present if the request has a constraint. */
  readonly constraint: ConstraintGuard | undefined;
  /** Present if its rows are routed under a device limit. */
  readonly deviceLimit: DeviceLimitUsage | undefined;
  /** Present while it has a place in the batch. */
  cache: SequenceCache | undefined;
  /** Its pages, if the KV cache is paged. */
  pages: PagedSequence | undefined;
  /** Of a mixture of adapters: the same of its first pass, which is in step. */
  firstPass: { cache: SequenceCache; pages: PagedSequence | undefined } | undefined;
  /** Present if tokens are drafted for it. */
  speculation: StreamSpeculation | undefined;
  /** Log-probabilities of the prompt's tokens so far, if requested. */
  promptLogprobs: Extract<GenerationEvent, { type: 'prompt-logprobs' }>['tokens'] = [];
  /** When it was admitted, and when its first and its last tokens were handed over. */
  admittedMs: number | undefined;
  firstTokensMs: number | undefined;
  lastTokensMs: number | undefined;
  /** Gives the request's adapter back, once no pass uses it. */
  releaseAdapter: (() => void) | undefined;
  /** KV positions of requests that were admitted ahead of it while there was no room for it. */
  passedByPositions = 0;
  finished = false;
  /** Whether it still needs a pass of its own kind, which encodes its source. */
  awaitsSource: boolean;
  /** Its rows in the pass that it is in; 0 if it is in none. */
  rowsInPass = 0;

  // At most maxTokens + 2, so the request itself bounds them.
  readonly #events: GenerationEvent[] = [];
  #error: GenerationError | undefined;
  #wake: (() => void) | undefined;
  readonly #onEnd: ((error?: GenerationError) => void)[] = [];

  constructor(request: GenerationRequest, createdMs: number, options: SequenceOptions = {}) {
    const { eosTokenIds = [], vocabSize = Number.POSITIVE_INFINITY, deviceLimit = 0, now } = options;
    this.request = request;
    this.createdMs = createdMs;
    this.awaitsSource = (request.sourceLength ?? 0) > 0;
    this.ids = [...request.promptIds];
    this.sampling = new Sampling(request, { eosTokenIds, vocabSize });
    if (request.constraint) {
      const bannedEnds = (numDrafts: number): ReadonlySet<number> => this.sampling.bannedEnds(numDrafts);
      const constraint = new ConstraintGuard(request.constraint, { vocabSize, bannedEnds, ...(now && { now }) });
      this.constraint = constraint;
      this.whenEnded(() => constraint.close());
    }
    const maxPeers = request.deviceLimit ?? deviceLimit;
    this.deviceLimit = maxPeers > 0 ? { maxPeers, tokenLayers: 0, changed: 0 } : undefined;
  }

  get completionTokens(): number {
    return this.ids.length - this.request.promptIds.length;
  }

  get state(): 'queued' | 'prefill' | 'decode' {
    if (this.cache === undefined) return 'queued';
    return this.cache.length < this.request.promptIds.length ? 'prefill' : 'decode';
  }

  /** Whether a pass is computing rows of it now. */
  get inPass(): boolean {
    return this.rowsInPass > 0;
  }

  /** Whether a pass may begin to compute rows of it: it is in none, and awaits no mask. */
  get isReady(): boolean {
    return !this.inPass && !this.constraint?.isAwaited;
  }

  /** Rows to compute before its next token can be chosen, drafts included. */
  get rowsAhead(): number {
    return this.ids.length - (this.cache?.length ?? 0) + (this.speculation?.drafts.tokens.length ?? 0);
  }

  /** Usage so far, sent along with tokens. */
  details(): { deviceLimit?: DeviceLimitUsage; speculation?: SpeculationUsage } {
    return {
      ...(this.deviceLimit && { deviceLimit: { ...this.deviceLimit } }),
      ...(this.speculation && { speculation: { ...this.speculation.usage } }),
    };
  }

  /** Keeps the first `length` positions and then those in `slots`, as `SequenceCache.keep`, and makes them known as its tokens'. */
  keep(length: number, slots: readonly number[]): void {
    for (const { cache, pages } of this.#passes) {
      cache.keep(length, slots);
      pages?.commit(this.ids);
    }
  }

  /** Forgets all positions from `length` on. */
  truncate(length: number): void {
    for (const { cache } of this.#passes) cache.truncate(length);
  }

  get #passes(): { cache: SequenceCache; pages: PagedSequence | undefined }[] {
    const { cache, pages, firstPass } = this;
    return [...(cache ? [{ cache, pages }] : []), ...(firstPass ? [firstPass] : [])];
  }

  /** Goes on with a token. Throws a GenerationError if its constraint fails. */
  append(tokenId: number): void {
    this.ids.push(tokenId);
    this.sampling.add(tokenId);
    this.constraint?.accept(tokenId);
  }

  emit(event: GenerationEvent): void {
    if (this.finished) return;
    this.#events.push(event);
    if (event.type === 'finish') this.#end();
    this.#wake?.();
  }

  fail(error: GenerationError): void {
    if (this.finished) return;
    this.#error = error;
    this.#end(error);
    this.#wake?.();
  }

  /** Calls `listener` once when the sequence ends, with the error if it failed. */
  whenEnded(listener: (error?: GenerationError) => void): void {
    this.#onEnd.push(listener);
  }

  /** The events in order; throws the error that ended the sequence after the events before it. */
  async *events(): AsyncGenerator<GenerationEvent, void> {
    try {
      for (;;) {
        const event = this.#events.shift();
        if (event !== undefined) {
          yield event;
          if (event.type === 'finish') return;
        } else if (this.#error) {
          throw this.#error;
        } else {
          await new Promise<void>((resolve) => (this.#wake = resolve));
        }
      }
    } finally {
      this.fail(new GenerationError('cancelled', 'The reader stopped reading.'));
    }
  }

  #end(error?: GenerationError): void {
    this.finished = true;
    for (const listener of this.#onEnd.splice(0)) listener(error);
  }
}

import {
  type EngineRow,
  type ExpertDispatch,
  type ForwardEngine,
  logSoftmaxAt,
  sample,
  type SequenceCache,
  topLogprobs,
} from '@shoal/model';
import type { BatchOptions } from '../dispatch/dispatcher.ts';
import { SampleWindow } from '../dispatch/lap-stats.ts';
import {
  type DeviceLimitUsage,
  EngineError,
  type GenerationEvent,
  type GenerationRequest,
  type TextEngine,
  type TokenLogprob,
} from './contract.ts';
import { KvPages } from './kv-pages.ts';
import { Sequence } from './sequence.ts';

export interface EngineOptions {
  modelId: string;
  forward: ForwardEngine;
  experts: { batch(options?: BatchOptions): ExpertDispatch };
  limits?: Partial<EngineLimits>;
  /** What ends an answer, where generation_config.json names other tokens than config.json. */
  eosTokenIds?: readonly number[] | undefined;
  onRequest?: (
    event: 'submitted' | 'finished' | 'failed' | 'cancelled',
    request: GenerationRequest,
    error?: EngineError,
  ) => void;
}

export interface EngineLimits {
  /** Sequences decoded together. Each holds a KV cache, and each adds a row to every lap. */
  maxBatch: number;
  /** Requests that may wait; beyond it they get `queue-full` and a time to come back. */
  maxQueue: number;
  /** Prompt rows added to one forward pass, so that running streams are not held up by a long prompt. */
  prefillRows: number;
  /** From submission to the last token. */
  requestTimeoutMs: number;
  /** Tabs that a token may use in a layer where its request doesn't say; undefined: no limit (exact routing). */
  deviceLimit?: number;
}

const DEFAULT_LIMITS: EngineLimits = { maxBatch: 16, maxQueue: 64, prefillRows: 64, requestTimeoutMs: 10 * 60_000 };
/** A guess for Retry-After until a request has finished and can be measured. */
const FIRST_RETRY_S = 2;

interface BatchEntry {
  sequence: Sequence;
  /** Index of its first row in the batch, and how many rows. */
  firstRow: number;
  numRows: number;
  /** Cache length before the pass. */
  startLength: number;
}

/**
 * Decodes all running sequences together (continuous batching, Orca 2022): each pass of the forward takes one row of every
 * decoding sequence and a bounded number of prompt rows; requests join and leave between passes.
 */
export class Engine implements TextEngine {
  readonly modelId: string;
  readonly maxContext: number;
  readonly limits: EngineLimits;
  /** Wall time of a pass without its laps, and whole, in milliseconds. */
  readonly passMs = new SampleWindow(256);
  readonly engineMs = new SampleWindow(256);
  /** Rows passed through the model, prompt rows included; and tokens generated. */
  rows = 0;
  tokens = 0;
  passes = 0;

  readonly #options: EngineOptions;
  readonly #queue: Sequence[] = [];
  readonly #running: Sequence[] = [];
  /** Caches of sequences that have ended. */
  readonly #retired: SequenceCache[] = [];
  /** Who has which page of the KV cache; undefined where it is not paged. */
  readonly #pages: KvPages | undefined;
  readonly #bytesPerPage: number;
  #prefixEpoch = 0;
  readonly #requestMs = new SampleWindow(64);
  #draining = false;
  #looping: Promise<void> | undefined;

  constructor(options: EngineOptions) {
    this.#options = options;
    this.modelId = options.modelId;
    this.maxContext = options.forward.config.maxPositionEmbeddings;
    this.limits = { ...DEFAULT_LIMITS, ...options.limits };
    const budget = options.forward.lendPages();
    this.#pages = budget && new KvPages(budget);
    this.#bytesPerPage = budget?.bytesPerPage ?? 0;
  }

  /** Of one more token in one sequence. */
  get kvBytesPerToken(): number {
    return this.#options.forward.kvBytesPerToken;
  }

  get running(): readonly Sequence[] {
    return this.#running;
  }

  get queued(): readonly Sequence[] {
    return this.#queue;
  }

  /** As allocated, of all running sequences; a page that several share counts once. */
  get kvBytesInUse(): number {
    if (this.#pages) return this.#pages.heldPages * this.#bytesPerPage;
    return this.#running.reduce((sum, sequence) => sum + (sequence.cache?.allocatedBytes ?? 0), 0);
  }

  /** Prompt positions since start, and those of them that were not computed again because another request began alike. */
  get prefix(): { positions: number; reused: number } {
    return { positions: this.#pages?.openedPositions ?? 0, reused: this.#pages?.reusedPositions ?? 0 };
  }

  /** As TextEngine says. Takes its place in the queue at once, before the first event is read. */
  submit(request: GenerationRequest): AsyncIterable<GenerationEvent> {
    if (this.#draining) throw new EngineError('draining', 'The coordinator is shutting down.', FIRST_RETRY_S);
    const { length } = request.promptIds;
    if (length === 0) throw new EngineError('context-length', 'The prompt has no tokens.');
    if (length + Math.min(1, request.maxTokens) > this.maxContext) {
      throw new EngineError(
        'context-length',
        `The prompt has ${length} tokens; with the answer's first it must fit the context of ${this.maxContext}.`,
      );
    }
    this.#refuseBeyondKv(request);
    this.#retireAndAdmit();
    // Waiting for a place in the batch or for room in the KV cache alike.
    const mustWait = this.#running.length >= this.limits.maxBatch || this.#queue.length > 0;
    if (mustWait && this.#queue.length >= this.limits.maxQueue) {
      throw new EngineError('queue-full', `${this.#queue.length} requests are waiting already.`, this.retryAfterS());
    }
    const sequence = new Sequence(request, this.limits.deviceLimit);
    this.#options.onRequest?.('submitted', request);
    this.#watch(sequence);
    this.#queue.push(sequence);
    this.#retireAndAdmit();
    this.#looping ??= this.#loop();
    return sequence.events();
  }

  /** Seconds until a place in the queue is likely, from how long requests have taken. */
  retryAfterS(): number {
    const typical = this.#requestMs.quantile(0.5);
    if (typical === null) return FIRST_RETRY_S;
    return Math.max(1, Math.ceil(typical / 1000 / this.limits.maxBatch));
  }

  /**
   * Take no more requests, let the accepted ones end, and end those that have not by `timeoutMs` with an error. Resolves by
   * then, whatever the pass at that moment still waits for.
   */
  async drain(timeoutMs: number): Promise<void> {
    this.#draining = true;
    let timer: NodeJS.Timeout | undefined;
    const deadline = new Promise<void>((resolve) => (timer = setTimeout(resolve, timeoutMs)));
    await Promise.race([this.#looping, deadline]);
    clearTimeout(timer);
    const message = 'The coordinator shut down before the answer was complete.';
    for (const sequence of [...this.#queue, ...this.#running]) {
      sequence.fail(new EngineError('draining', message, FIRST_RETRY_S));
    }
  }

  #watch(sequence: Sequence): void {
    const { signal } = sequence.request;
    const cancel = (): void => sequence.fail(new EngineError('cancelled', 'The request was cancelled.'));
    signal.addEventListener('abort', cancel, { once: true });
    const { requestTimeoutMs } = this.limits;
    const timer = setTimeout(
      () => sequence.fail(new EngineError('timeout', `The answer took more than ${requestTimeoutMs / 1000} s.`)),
      requestTimeoutMs,
    );
    sequence.onEnd = (error) => {
      clearTimeout(timer);
      signal.removeEventListener('abort', cancel);
      if (!error) this.#requestMs.add(performance.now() - sequence.createdMs);
      const outcome = error === undefined ? 'finished' : error.reason === 'cancelled' ? 'cancelled' : 'failed';
      this.#options.onRequest?.(outcome, sequence.request, error);
    };
    if (signal.aborted) cancel();
  }

  async #loop(): Promise<void> {
    // Whoever submits in the same turn joins the first pass.
    await Promise.resolve();
    for (;;) {
      this.#retire();
      for (const cache of this.#retired.splice(0)) cache.free();
      this.#admit();
      if (this.#running.length === 0) {
        // Before anyone can submit again, who would otherwise wait for a loop that has ended.
        this.#looping = undefined;
        return;
      }
      await this.#pass();
      // Whatever the laps left no time for: sockets, timers, new requests.
      await new Promise(setImmediate);
    }
  }

  #retireAndAdmit(): void {
    this.#retire();
    this.#admit();
  }

  #retire(): void {
    // A pass may still be writing to them: they are freed before the next one.
    for (const { finished, cache } of this.#running) if (finished && cache) this.#retired.push(cache);
    remove(this.#running, (sequence) => sequence.finished);
    remove(this.#queue, (sequence) => sequence.finished);
  }

  #admit(): void {
    while (this.#running.length < this.limits.maxBatch && this.#queue.length > 0) {
      const sequence = this.#queue[0]!;
      sequence.cache = this.#openCache(sequence);
      // In order: what would fit now doesn't overtake, or the long ones would wait for ever.
      if (!sequence.cache) break;
      this.#running.push(this.#queue.shift()!);
    }
  }

  /** Positions that a request may come to hold in the KV cache. */
  #kvTokens({ promptIds, maxTokens }: GenerationRequest): number {
    return Math.min(promptIds.length + maxTokens, this.maxContext);
  }

  /** Its place in the KV cache, as long as it may get; undefined while there is no room for that. */
  #openCache(sequence: Sequence): SequenceCache | undefined {
    const { forward } = this.#options;
    if (!this.#pages) return forward.newSequence();
    const { request, deviceLimit } = sequence;
    // A limit changes what is computed, by the tabs of the moment: nobody else's beginning is this one's.
    const scope = deviceLimit ? `request ${request.id}` : (request.cacheScope ?? '');
    // Where the prompt's logprobs are wanted, all of its positions are to be computed.
    const known = request.promptLogprobs ? [] : request.promptIds;
    sequence.pages = this.#pages.open(known, this.#kvTokens(request), `${this.#prefixEpoch} ${scope}`);
    return sequence.pages && forward.sequenceOn(sequence.pages);
  }

  /** No later request starts from what was computed until now: it may be wrong. */
  forgetPrefixes(): void {
    this.#prefixEpoch++;
  }

  #refuseBeyondKv(request: GenerationRequest): void {
    const pages = this.#pages;
    if (!pages || pages.fits(this.#kvTokens(request))) return;
    throw new EngineError(
      'context-length',
      `The prompt has ${request.promptIds.length} tokens and asks for ${request.maxTokens} more; this server's KV cache ` +
        `holds ${pages.numPages * pages.pagePositions}: ask for fewer.`,
    );
  }

  async #pass(): Promise<void> {
    const { rows, entries } = this.#assemble();
    const startedMs = performance.now();
    const timed = timeLaps(this.#options.experts.batch(batchOptions(entries)));
    try {
      const { logits } = await this.#options.forward.forward(rows, timed.experts);
      const passMs = performance.now() - startedMs;
      this.passMs.add(passMs);
      this.engineMs.add(passMs - timed.waitedMs());
      this.rows += rows.length;
      this.passes++;
      for (const entry of entries) this.#advanceAlone(entry, logits);
    } catch (error) {
      for (const { sequence } of entries) this.#abandon(sequence, error);
    }
  }

  /** A row whose logits are damaged ends its own sequence and no other. */
  #advanceAlone(entry: BatchEntry, logits: readonly (Float32Array | undefined)[]): void {
    try {
      this.#advance(entry, logits);
    } catch (error) {
      this.#abandon(entry.sequence, error);
    }
  }

  /** One row of every decoding sequence, then prompt rows of the others, oldest first. */
  #assemble(): { rows: EngineRow[]; entries: BatchEntry[] } {
    const rows: EngineRow[] = [];
    const entries: BatchEntry[] = [];
    let prefillLeft = this.limits.prefillRows;
    for (const sequence of this.#running) {
      const cache = sequence.cache!;
      const start = cache.length;
      const prefilling = sequence.state === 'prefill';
      const numRows = prefilling ? Math.min(prefillLeft, sequence.ids.length - start) : 1;
      if (numRows === 0) continue;
      if (prefilling) prefillLeft -= numRows;
      entries.push({ sequence, firstRow: rows.length, numRows, startLength: start });
      for (let position = start; position < start + numRows; position++) {
        const isLast = position === sequence.ids.length - 1;
        const wantLogits = isLast || sequence.request.promptLogprobs === true;
        rows.push({ tokenId: sequence.ids[position]!, position, cache, wantLogits });
      }
    }
    return { rows, entries };
  }

  #advance(entry: BatchEntry, logits: readonly (Float32Array | undefined)[]): void {
    const { sequence, firstRow, numRows, startLength } = entry;
    if (sequence.finished) return;
    sequence.pages?.commit(sequence.ids);
    if (sequence.request.promptLogprobs && startLength < sequence.request.promptIds.length) {
      this.#collectPrompt(entry, logits);
    }
    const reached = startLength + numRows;
    if (reached < sequence.ids.length) return;
    if (sequence.request.maxTokens === 0)
      return sequence.emit({ type: 'finish', reason: 'length', ...sequence.limitDetails() });
    this.#take(sequence, logits[firstRow + numRows - 1]!);
  }

  /** Choose the next token from the last row's logits, and tell the reader. */
  #take(sequence: Sequence, logits: Float32Array): void {
    const { request } = sequence;
    const tokenId = sample(logits, { temperature: request.temperature, topP: request.topP, rng: sequence.rng });
    const { forward, eosTokenIds = forward.config.eosTokenIds } = this.#options;
    if (eosTokenIds.includes(tokenId))
      return sequence.emit({ type: 'finish', reason: 'stop', ...sequence.limitDetails() });
    sequence.ids.push(tokenId);
    this.tokens++;
    sequence.emit({
      type: 'token',
      token: {
        tokenId,
        ...(request.topLogprobs !== undefined && describeLogprobs(logits, tokenId, request.topLogprobs)),
        ...(request.trace && { trace: sequence.traces }),
        ...sequence.limitDetails(),
      },
    });
    sequence.traces = [];
    const full = sequence.ids.length >= this.maxContext || sequence.completionTokens >= request.maxTokens;
    if (full) sequence.emit({ type: 'finish', reason: 'length', ...sequence.limitDetails() });
  }

  /** A prompt token's logprob comes from the row before it; the first token has none. */
  #collectPrompt(entry: BatchEntry, logits: readonly (Float32Array | undefined)[]): void {
    const { sequence, firstRow, numRows, startLength } = entry;
    const { promptIds, topLogprobs: top = 0 } = sequence.request;
    const collected = sequence.promptLogprobs;
    if (startLength === 0) collected.push({ tokenId: promptIds[0]!, logprob: null, topLogprobs: [] });
    for (let i = 0; i < numRows; i++) {
      const next = promptIds[startLength + i + 1];
      if (next === undefined) break;
      collected.push({ tokenId: next, ...describeLogprobs(logits[firstRow + i]!, next, top) });
    }
    if (startLength + numRows >= promptIds.length) sequence.emit({ type: 'prompt-logprobs', tokens: collected });
  }

  /** It ends with an error; the other sequences and the process go on. */
  #abandon(sequence: Sequence, cause: unknown): void {
    const message = cause instanceof Error ? cause.message : String(cause);
    sequence.fail(new EngineError('internal', `A forward pass failed: ${message}`));
  }
}

function describeLogprobs(
  logits: Float32Array,
  tokenId: number,
  top: number,
): { logprob: number; topLogprobs: TokenLogprob[] } {
  return { logprob: logSoftmaxAt(logits, tokenId), topLogprobs: topLogprobs(logits, top) };
}

/** Measures how long a pass waited for its laps: from the end of its own work to the combine. */
function timeLaps(experts: ExpertDispatch): { experts: ExpertDispatch; waitedMs: () => number } {
  let waitedMs = 0;
  return {
    waitedMs: () => waitedMs,
    experts: {
      ...experts,
      dispatch: (call) => {
        const handle = experts.dispatch(call);
        return {
          combine: async () => {
            const startedMs = performance.now();
            const sum = await handle.combine();
            waitedMs += performance.now() - startedMs;
            return sum;
          },
        };
      },
    },
  };
}

/** Hands each traced sequence the laps of the row that its next token comes from, and limits the rows of limited ones. */
function batchOptions(entries: readonly BatchEntry[]): BatchOptions {
  const traced = new Map<number, Sequence>();
  const limited = new Map<number, DeviceLimitUsage>();
  for (const { sequence, firstRow, numRows, startLength } of entries) {
    const isLast = startLength + numRows === sequence.ids.length;
    if (sequence.request.trace && isLast) traced.set(firstRow + numRows - 1, sequence);
    const { deviceLimit } = sequence;
    if (deviceLimit) for (let row = firstRow; row < firstRow + numRows; row++) limited.set(row, deviceLimit);
  }
  return {
    ...(traced.size > 0 && { trace: (row, trace) => traced.get(row)?.traces.push(trace) }),
    ...(limited.size > 0 && {
      maxPeers: (row) => limited.get(row)?.maxPeers,
      onLimited: (row, changed) => {
        const usage = limited.get(row)!;
        usage.tokenLayers++;
        if (changed) usage.changed++;
      },
    }),
  };
}

function remove<T>(list: T[], gone: (item: T) => boolean): void {
  for (let i = list.length - 1; i >= 0; i--) if (gone(list[i]!)) list.splice(i, 1);
}

import type { ExpertDispatch, ForwardEngine } from '@shoal/model';
import type { BatchOptions } from '../dispatch/dispatcher.ts';
import { SampleWindow } from '../dispatch/lap-stats.ts';
import { Admission } from './admission.ts';
import { Answers } from './answers.ts';
import { EngineError, type GenerationEvent, type GenerationRequest, type TextEngine } from './contract.ts';
import { Lane } from './lane.ts';
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

const DEFAULT_LIMITS: EngineLimits = { maxBatch: 64, maxQueue: 64, prefillRows: 64, requestTimeoutMs: 10 * 60_000 };
/** A guess for Retry-After until a request has finished and can be measured. */
const FIRST_RETRY_S = 2;

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
  /** Rows passed through the model, prompt rows included. */
  rows = 0;
  passes = 0;

  readonly #options: EngineOptions;
  readonly #admission: Admission;
  readonly #answers: Answers;
  readonly #lane: Lane;
  readonly #requestMs = new SampleWindow(64);
  #draining = false;
  #looping: Promise<void> | undefined;

  constructor(options: EngineOptions) {
    this.#options = options;
    this.modelId = options.modelId;
    this.maxContext = options.forward.config.maxPositionEmbeddings;
    this.limits = { ...DEFAULT_LIMITS, ...options.limits };
    const { forward, experts, eosTokenIds = forward.config.eosTokenIds } = options;
    const { maxBatch, maxQueue, prefillRows } = this.limits;
    this.#admission = new Admission({ forward, maxContext: this.maxContext, maxBatch, maxQueue });
    this.#answers = new Answers({ maxContext: this.maxContext, eosTokenIds });
    const onPass = (rows: number, passMs: number, engineMs: number): void => this.#countPass(rows, passMs, engineMs);
    this.#lane = new Lane({ forward, experts, answers: this.#answers, prefillRows, onPass });
  }

  /** Of one more token in one sequence. */
  get kvBytesPerToken(): number {
    return this.#options.forward.kvBytesPerToken;
  }

  /** Generated since start. */
  get tokens(): number {
    return this.#answers.tokens;
  }

  get running(): readonly Sequence[] {
    return this.#admission.running;
  }

  get queued(): readonly Sequence[] {
    return this.#admission.waiting;
  }

  /** As allocated, of all running sequences; a page that several share counts once. */
  get kvBytesInUse(): number {
    return this.#admission.kvBytesInUse;
  }

  /** Prompt positions since start, and those of them that were not computed again because another request began alike. */
  get prefix(): { positions: number; reused: number } {
    return this.#admission.prefix;
  }

  /** No later request starts from what was computed until now: it may be wrong. */
  forgetPrefixes(): void {
    this.#admission.forgetPrefixes();
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
    this.#admission.refuseBeyondKv(request);
    this.#admission.update();
    if (this.#admission.isFull) {
      throw new EngineError('queue-full', `${this.queued.length} requests are waiting already.`, this.retryAfterS());
    }
    const sequence = new Sequence(request, this.limits.deviceLimit);
    this.#options.onRequest?.('submitted', request);
    this.#watch(sequence);
    this.#admission.waiting.push(sequence);
    this.#admission.update();
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
    for (const sequence of [...this.queued, ...this.running]) {
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
      this.#admission.update();
      if (this.running.length === 0) {
        // Before anyone can submit again, who would otherwise wait for a loop that has ended.
        this.#looping = undefined;
        return;
      }
      await this.#lane.pass(this.running);
      // Whatever the laps left no time for: sockets, timers, new requests.
      await new Promise(setImmediate);
    }
  }

  #countPass(rows: number, passMs: number, engineMs: number): void {
    this.passMs.add(passMs);
    this.engineMs.add(engineMs);
    this.rows += rows;
    this.passes++;
  }
}

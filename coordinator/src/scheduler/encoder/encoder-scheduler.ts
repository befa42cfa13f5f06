import { type ExpertDispatch, type ForwardEngine, meanEmbedding, messageOf, slotsPerSequence } from '@shoal/model';
import type { BatchOptions } from '../../laps/dispatcher.ts';
import type { Timeline } from '../../timeline/timeline.ts';
import type { Occupancy } from '../batch/occupancy.ts';
import { PassWatch } from '../batch/pass-runner.ts';
import { DEFAULT_RETRY_S, GenerationError, type Refusal } from '../generation.ts';
import { EncoderJob, type TakenInput, WaitingJobs } from './encoder-jobs.ts';
import { onceATurn, watchRequest, type WatchOptions } from '../watch-request.ts';

/** Texts to embed, as token ids. */
export interface EmbedRequest {
  /** For logs and the console. */
  id: string;
  inputs: readonly (readonly number[])[];
  /** Values of an embedding; the model's hidden size at most. */
  dimensions: number;
  /** Clients take turns; requests without a client count as one client's. */
  client?: string | undefined;
  signal: AbortSignal;
}

export interface EmbeddingService {
  /** The most tokens of an input. */
  readonly maxTokens: number;
  /** Values of a whole embedding. */
  readonly dimensions: number;
  /** One embedding for each input. Rejects with a GenerationError. Aborting the signal cancels the request. */
  embed(request: EmbedRequest): Promise<Float32Array[]>;
}

export interface EncoderSchedulerOptions {
  forward: ForwardEngine;
  experts: { batch(options?: BatchOptions): ExpertDispatch };
  limits: EncoderLimits;
  occupancy: Occupancy;
  timeline?: Timeline | undefined;
  onRequest?: (
    event: 'submitted' | 'finished' | 'failed' | 'cancelled',
    job: EncoderJob,
    error?: GenerationError,
  ) => void;
  /** A clock in milliseconds; `performance.now()` by default. */
  now?: () => number;
}

export interface EncoderLimits {
  /** Requests that may wait; further ones are rejected with `queue-full`. */
  maxQueue: number;
  /** Passes in flight: while the laps of one are out, the dense engine computes the other. */
  maxPasses: 1 | 2;
  /** Rows of a pass, unless a single input has more. Where a gate makes slots of each input, the experts' rows count too. */
  passRows?: number;
  /** From submission to the last embedding. */
  requestTimeoutMs?: number;
}

/** As many as one lap to a tab may have. */
const PASS_ROWS = 512;
const REQUEST_TIMEOUT_MS = 10 * 60_000;
/** Tokens of all waiting requests, at 8 bytes each: 16 MB. An hour's work at 500 tokens a second. */
const MAX_WAITING_TOKENS = 1 << 21;
/** A client may have this share of the queue while others have nothing there. */
const CLIENT_SHARE = 3 / 4;

/**
 * Runs an encoder: each pass takes whole inputs of any requests, clients in turn, up to a number of rows, and keeps nothing. A row
 * attends to its own input only, so that an embedding does not depend on what shares its passes.
 */
export class EncoderScheduler implements EmbeddingService {
  /** Since start: requests, inputs and tokens that were embedded, and the passes that did it. */
  readonly counts = { requests: 0, inputs: 0, tokens: 0, passes: 0 };
  /** Rejected requests since start. */
  readonly refusals: Record<Refusal, number> = { 'queue-full': 0, 'share-full': 0, 'too-late': 0 };
  readonly #options: EncoderSchedulerOptions;
  readonly #limits: Required<EncoderLimits>;
  readonly #now: () => number;
  readonly #waiting = new WaitingJobs();
  /** All that have not ended. */
  readonly #jobs = new Set<EncoderJob>();
  readonly #microBatches: { name: number; isFree: boolean }[];
  #begun = 0;
  #draining = false;
  readonly #wake = onceATurn(() => this.#beginPasses());
  #onIdle: (() => void)[] = [];

  constructor(options: EncoderSchedulerOptions) {
    this.#options = options;
    this.#limits = { passRows: PASS_ROWS, requestTimeoutMs: REQUEST_TIMEOUT_MS, ...options.limits };
    this.#now = options.now ?? (() => performance.now());
    this.#microBatches = Array.from({ length: this.#limits.maxPasses }, (_, i) => ({ name: i + 1, isFree: true }));
  }

  get maxTokens(): number {
    return this.#options.forward.config.maxPositionEmbeddings;
  }

  get dimensions(): number {
    return this.#options.forward.config.hiddenSize;
  }

  /** Requests that have not ended, the waiting ones included. */
  get jobs(): readonly EncoderJob[] {
    return [...this.#jobs];
  }

  async embed(request: EmbedRequest): Promise<Float32Array[]> {
    const { id, inputs, dimensions, client = '', signal } = request;
    this.#check(request);
    const job = new EncoderJob({ id, inputs, dimensions, client, createdMs: this.#now() });
    this.#jobs.add(job);
    this.#waiting.add(job);
    this.#options.onRequest?.('submitted', job);
    this.#watch(job, signal);
    this.#wake();
    return job.result;
  }

  /** As `Scheduler.stop`. */
  stop(id: string, why: string): boolean {
    const job = this.jobs.find((one) => one.id === id);
    job?.fail(new GenerationError('stopped', why));
    return job !== undefined;
  }

  /** As `Scheduler.drain`. */
  async drain(timeoutMs: number): Promise<void> {
    this.#draining = true;
    let timer: NodeJS.Timeout | undefined;
    const deadline = new Promise<void>((resolve) => (timer = setTimeout(resolve, timeoutMs)));
    const idle = new Promise<void>((resolve) => (this.#isIdle ? resolve() : this.#onIdle.push(resolve)));
    await Promise.race([idle, deadline]);
    clearTimeout(timer);
    const message = 'The coordinator shut down before the embeddings were complete.';
    for (const job of this.#jobs) job.fail(new GenerationError('draining', message, DEFAULT_RETRY_S));
  }

  /** Throws a GenerationError where a request cannot be taken. */
  #check({ inputs, client = '' }: EmbedRequest): void {
    if (this.#draining) throw new GenerationError('draining', 'The coordinator is shutting down.', DEFAULT_RETRY_S);
    const wrong = inputs.findIndex(({ length }) => length === 0 || length > this.maxTokens);
    if (wrong >= 0 || inputs.length === 0) {
      const problem =
        inputs.length === 0 ? 'There are no inputs' : `Input ${wrong} has ${inputs[wrong]!.length} tokens`;
      throw new GenerationError('context-length', `${problem}; each has to have from 1 to ${this.maxTokens}.`);
    }
    const waiting = this.#waiting.all;
    const { maxQueue } = this.#limits;
    const tokens = waiting.reduce((sum, job) => sum + job.waitingTokens, 0);
    const own = inputs.reduce((sum, { length }) => sum + length, 0);
    if (waiting.length >= maxQueue || tokens + own > MAX_WAITING_TOKENS)
      throw this.#refuse('queue-full', waiting.length);
    if (this.#waiting.countOf(client) >= Math.max(1, CLIENT_SHARE * maxQueue))
      throw this.#refuse('share-full', waiting.length);
  }

  #refuse(reason: Refusal, waiting: number): GenerationError {
    this.refusals[reason]++;
    return new GenerationError(reason, `${waiting} requests are waiting already.`, DEFAULT_RETRY_S);
  }

  #watch(job: EncoderJob, signal: AbortSignal): void {
    const onEnded: WatchOptions['onEnded'] = (outcome, error) => {
      this.#waiting.remove(job);
      this.#jobs.delete(job);
      if (!error) this.counts.requests++;
      this.#options.onRequest?.(outcome, job, error);
    };
    watchRequest(job, { signal, timeoutMs: this.#limits.requestTimeoutMs, what: 'The embeddings', onEnded });
  }

  get #isIdle(): boolean {
    return this.#jobs.size === 0 && this.#microBatches.every(({ isFree }) => isFree);
  }

  #beginPasses(): void {
    for (const microBatch of this.#microBatches) {
      if (!microBatch.isFree) continue;
      const taken = this.#waiting.take(this.#limits.passRows, slotsPerSequence(this.#options.forward.config));
      if (taken.length === 0) break;
      microBatch.isFree = false;
      void this.#pass(taken, microBatch.name).then(() => {
        microBatch.isFree = true;
        setImmediate(() => this.#beginPasses());
      });
    }
    if (this.#isIdle) for (const resolve of this.#onIdle.splice(0)) resolve();
  }

  /** Never throws. */
  async #pass(taken: readonly TakenInput[], microBatch: number): Promise<void> {
    const { forward, experts, occupancy, timeline } = this.#options;
    const name = { microBatch, pass: ++this.#begun };
    const watch = new PassWatch(name, { occupancy, timeline, now: this.#now });
    const sequences = taken.map(({ job, input }) => job.inputs[input]!);
    try {
      const result = await forward.encode!(sequences, experts.batch({ pass: name }), watch.observer);
      this.counts.passes++;
      let firstRow = 0;
      for (const [i, { length }] of sequences.entries()) {
        this.#give(taken[i]!, { ...result, firstRow, numRows: length });
        firstRow += length;
      }
    } catch (error) {
      for (const { job } of taken) job.fail(failure(error));
    } finally {
      const { startedMs, endedMs } = watch.end();
      const rows = sequences.reduce((sum, { length }) => sum + length, 0);
      timeline?.pass({ ...name, rows, sequences: sequences.length, startedMs, endedMs });
    }
  }

  #give(
    { job, input }: TakenInput,
    rows: {
      hidden: Float32Array;
      faults?: readonly (Error | undefined)[] | undefined;
      firstRow: number;
      numRows: number;
    },
  ): void {
    const { hidden, faults, firstRow, numRows } = rows;
    const fault = faults?.slice(firstRow, firstRow + numRows).find((error) => error !== undefined);
    if (fault) return job.fail(failure(fault));
    this.counts.inputs++;
    this.counts.tokens += numRows;
    job.give(input, meanEmbedding(hidden, this.dimensions, { firstRow, numRows }, job.dimensions));
  }
}

const failure = (cause: unknown): GenerationError =>
  new GenerationError('internal', `An encoder's pass failed: ${messageOf(cause)}`);

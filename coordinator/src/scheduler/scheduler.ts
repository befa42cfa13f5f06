import { contextLength, type ExpertDispatch, type ForwardEngine, type SequenceCache } from '@shoal/model';
import { SampleWindow } from '../base/sample-window.ts';
import type { ServedAdapter } from '../adapters/served-adapter.ts';
import type { BatchOptions } from '../laps/dispatcher.ts';
import type { Timeline } from '../timeline/timeline.ts';
import { Answers } from './batch/answers.ts';
import { MicroBatchBuilder } from './batch/micro-batch.ts';
import { MicroBatchCount } from './batch/micro-batch-count.ts';
import { Occupancy } from './batch/occupancy.ts';
import { PassCosts, type PassTimes } from './batch/pass-costs.ts';
import { PassRunner } from './batch/pass-runner.ts';
import { PrefillBudget } from './batch/prefill-budget.ts';
import { Shares } from './batch/shares.ts';
import {
  DEFAULT_RETRY_S,
  GenerationError,
  type GenerationEvent,
  type GenerationRequest,
  type GenerationService,
  type Refusal,
} from './generation.ts';
import type { GraceClock } from './grace.ts';
import { Latency } from './latency.ts';
import { Admission } from './queue/admission.ts';
import { ServiceRate } from './queue/service-rate.ts';
import { Sequence } from './sequence.ts';
import { Speculation, type SpeculationOptions } from './speculation/speculation.ts';
import { onceATurn, watchRequest, type WatchOptions } from './watch-request.ts';

export interface SchedulerOptions {
  modelId: string;
  forward: ForwardEngine;
  experts: { batch(options?: BatchOptions): ExpertDispatch };
  limits: SchedulerLimits;
  /** Tokens that end an answer, if generation_config.json names others than config.json. */
  eosTokenIds?: readonly number[] | undefined;
  speculation: SchedulerSpeculationOptions;
  /** Laps of a pass: one for each MoE layer that is not local. */
  lapsPerPass: number;
  onRequest?: (
    event: 'submitted' | 'finished' | 'failed' | 'cancelled',
    sequence: Sequence,
    error?: GenerationError,
  ) => void;
  timeline?: Timeline | undefined;
  /** A clock in milliseconds; `performance.now()` by default. */
  now?: () => number;
  /** Times how long passes wait for constraints; the system's by default. */
  clock?: GraceClock | undefined;
}

export type SchedulerSpeculationOptions = Pick<
  SpeculationOptions,
  'mode' | 'maxDrafts' | 'hasMtpExperts' | 'lapsPerDraft' | 'engine' | 'onFailure' | 'chooser'
>;

export interface SchedulerLimits {
  /** Sequences decoded together. Each holds a KV cache and adds a row to every lap. */
  maxBatch: number;
  /** Requests that may wait; further ones are rejected with `queue-full`. */
  maxQueue: number;
  /** Prompt rows may delay running sequences by the time of this many laps. */
  promptLaps: number;
  /** Micro-batches in flight; `auto`: two where passes wait a quarter of their time and two are estimated to be no slower. */
  microBatches: 1 | 2 | 'auto';
  /** Peers that a token may use in a layer if its request doesn't say; 0: no limit (exact routing). */
  deviceLimit: number;
  /** Prompt rows of one pass at most; PREFILL_ROWS by default. */
  prefillRows?: number;
  /** From submission to the last token; REQUEST_TIMEOUT_MS by default. */
  requestTimeoutMs?: number;
}

const PREFILL_ROWS = 256;
const REQUEST_TIMEOUT_MS = 10 * 60_000;
/** A third would read the weights once more per round, and helps only if laps take far longer than the dense engine's work. */
const MAX_MICRO_BATCHES = 2;
/** A request is rejected as too late only if its expected wait exceeds this many request timeouts: the estimate is rough. */
const SURELY = 2;
/** Waiting requests that are looked at to estimate a wait. */
const MAX_LOOK_AHEAD = 256;

/**
 * Decodes all running sequences together (continuous batching, Orca 2022): each pass takes one row of every decoding sequence
 * and a bounded number of prompt rows, and requests join and leave between passes. If laps take long, two micro-batches are in
 * flight: the dense engine computes one while the laps of the other are out (DeepSeek-V3 paper §3.4.2).
 */
export class Scheduler implements GenerationService {
  readonly modelId: string;
  /** Of an encoder–decoder, tokens of a source at most. */
  readonly maxContext: number;
  readonly limits: Required<SchedulerLimits>;
  /** Wall time of a pass, and the dense engine's own work for it and the drafts after it, in milliseconds. */
  readonly passMs = new SampleWindow(256);
  readonly engineMs = new SampleWindow(256);
  readonly latency = new Latency();
  readonly occupancy: Occupancy;
  readonly speculation: Speculation;
  /** The clock of all times here and in sequences, in milliseconds. */
  readonly now: () => number;
  /** Rows passed through the model, prompt rows included. */
  rows = 0;
  passes = 0;
  /** Rejected requests since start. */
  readonly refusals: Record<Refusal, number> = { 'queue-full': 0, 'share-full': 0, 'too-late': 0 };

  readonly #options: SchedulerOptions;
  readonly #admission: Admission;
  readonly #answers: Answers;
  readonly #builder: MicroBatchBuilder;
  readonly #rate = new ServiceRate();
  readonly #runners: readonly PassRunner[];
  readonly #costs = new PassCosts();
  readonly #count = new MicroBatchCount(this.#costs);
  #microBatches: 1 | 2 = 1;
  #draining = false;
  readonly #wake = onceATurn(() => this.#beginPasses());
  /** Passes begun, failed ones included. */
  #begun = 0;
  #onIdle: (() => void)[] = [];

  constructor(options: SchedulerOptions) {
    this.#options = options;
    this.modelId = options.modelId;
    this.limits = { prefillRows: PREFILL_ROWS, requestTimeoutMs: REQUEST_TIMEOUT_MS, ...options.limits };
    const { forward, experts } = options;
    const { maxBatch, maxQueue, prefillRows, promptLaps } = this.limits;
    const { now = () => performance.now(), lapsPerPass } = options;
    const maxContext = contextLength(forward.config);
    const costs = this.#costs;
    this.now = now;
    const budget = new PrefillBudget({ costs, maxRows: prefillRows, lapsPerPass });
    const promptRowsBeside = (rows: number): number => budget.rowsBeside(rows, promptLaps);
    const drafting = { forward, experts, costs, maxContext, now, lapsPerPass, promptRowsBeside };
    this.speculation = new Speculation({ ...drafting, ...options.speculation });
    const drafterBytesPerToken = this.speculation.kvBytesPerToken;
    const onAdmitted = (sequence: Sequence): void => {
      sequence.admittedMs = now();
      this.latency.admitted(sequence, sequence.admittedMs);
    };
    const maxRows = Math.max(prefillRows, options.speculation.maxDrafts + 1);
    const room = { maxContext, maxBatch, maxQueue, maxRows, drafterBytesPerToken };
    this.#admission = new Admission({ forward, ...room, onAdmitted });
    // Where the KV cache is smaller, an answer without a limit of its own must still fit.
    const { maxPositionEmbeddings, seq2seq } = forward.config;
    const mostPositions = this.#admission.mostPositions();
    this.maxContext = Math.min(maxPositionEmbeddings, seq2seq ? Math.floor(mostPositions / 2) : mostPositions);
    this.#answers = new Answers({ maxContext: maxPositionEmbeddings });
    this.#builder = new MicroBatchBuilder(promptRowsBeside);
    this.occupancy = new Occupancy(now);
    this.#runners = this.#openRunners();
  }

  maxContextUnder(adapter: ServedAdapter | undefined): number {
    return Math.min(this.maxContext, this.#admission.mostPositions(adapter));
  }

  /** KV cache of one more token of one sequence, without the drafter's. */
  get kvBytesPerToken(): number {
    return this.#options.forward.kvBytesPerToken;
  }

  /** Passes per token of an answer since start: below 1 thanks to right drafts. Null before the first token. */
  get passesPerToken(): number | null {
    const { tokenPasses, chosen } = this.#answers;
    return chosen === 0 ? null : tokenPasses / chosen;
  }

  /** Tokens generated since start. */
  get tokens(): number {
    return this.#answers.tokens;
  }

  /** Micro-batches that may be in flight now. */
  get microBatches(): 1 | 2 {
    return this.#microBatches;
  }

  get running(): readonly Sequence[] {
    return this.#admission.running;
  }

  get queued(): readonly Sequence[] {
    return this.#admission.waiting;
  }

  /** KV cache of all running sequences, as allocated; a shared page counts once. */
  get kvBytesInUse(): number {
    return this.#admission.kvBytesInUse;
  }

  /** KV cache of finished requests, kept for prefix reuse; it makes room when that is needed. */
  get kvBytesKept(): number {
    return this.#admission.kvBytesKept;
  }

  /** Prompt positions since start, and those reused from another request with the same beginning. */
  get prefix(): { positions: number; reused: number } {
    return this.#admission.prefix;
  }

  /** Lets no later request start from what has been computed so far, because it may be wrong. */
  forgetPrefixes(): void {
    this.#admission.forgetPrefixes();
  }

  /** As `Admission.openApart`, for a pass of the caller's own. */
  openApart(positions: number): SequenceCache | undefined {
    return this.#admission.openApart(positions);
  }

  /** As GenerationService says. The request takes its place in the queue at once, before the first event is read. */
  submit(request: GenerationRequest): AsyncIterable<GenerationEvent> {
    const release = request.adapter?.retain();
    try {
      if (request.adapter && !release) {
        throw new GenerationError('adapter-gone', `The adapter ${request.adapter.name} was unloaded.`);
      }
      return this.#accept(request, release);
    } catch (error) {
      request.constraint?.close();
      release?.();
      throw error;
    }
  }

  #accept(request: GenerationRequest, releaseAdapter: (() => void) | undefined): AsyncIterable<GenerationEvent> {
    if (this.#draining) throw new GenerationError('draining', 'The coordinator is shutting down.', DEFAULT_RETRY_S);
    const { length } = request.promptIds;
    if (length === 0) throw new GenerationError('context-length', 'The prompt has no tokens.');
    if ((request.sourceLength ?? length + Math.min(1, request.maxTokens)) > this.maxContext) {
      throw new GenerationError(
        'context-length',
        `The prompt has ${request.sourceLength ?? length} tokens; together with the first token of the answer it must fit the context of ${this.maxContext}.`,
      );
    }
    this.#admission.refuseBeyondKv(request);
    this.#admission.update();
    const refusal = this.#admission.refusal(request.client ?? '');
    if (refusal) throw this.#refuse(refusal, `${this.queued.length} requests are waiting already.`);
    const { forward, eosTokenIds = forward.config.eosTokenIds } = this.#options;
    const { vocabSize } = forward.config;
    const sequence = new Sequence(request, this.now(), {
      eosTokenIds,
      vocabSize,
      deviceLimit: this.limits.deviceLimit,
      now: this.now,
    });
    sequence.releaseAdapter = releaseAdapter;
    sequence.speculation = this.speculation.begin(sequence);
    this.#admission.add(sequence);
    this.#admission.update();
    this.#refuseWithoutTime(sequence);
    this.#options.onRequest?.('submitted', sequence);
    this.#watch(sequence);
    this.#wake();
    return sequence.events();
  }

  /** Throws a GenerationError for a queued request that would surely spend all of its time in the queue. */
  #refuseWithoutTime(sequence: Sequence): void {
    if (sequence.state !== 'queued') return;
    const waiting = this.#admission.inOrder(MAX_LOOK_AHEAD);
    const intervalMs = this.#rate.intervalMs(this.running.length, waiting);
    if (intervalMs === undefined) return;
    const at = waiting.indexOf(sequence);
    const waitMs = (at < 0 ? waiting.length : at + 1) * intervalMs;
    const longestMs = SURELY * this.limits.requestTimeoutMs;
    if (waitMs <= longestMs) return;
    this.#admission.withdraw(sequence);
    throw this.#refuse('too-late', `The wait would be about ${Math.round(waitMs / 1000)} s.`, waitMs - longestMs);
  }

  /**
   * Takes no more requests, lets the accepted ones finish, and ends those that have not by `timeoutMs` with an error. Resolves
   * by then even if a pass is still waiting.
   */
  async drain(timeoutMs: number): Promise<void> {
    this.#draining = true;
    let timer: NodeJS.Timeout | undefined;
    const deadline = new Promise<void>((resolve) => (timer = setTimeout(resolve, timeoutMs)));
    const idle = new Promise<void>((resolve) => (this.#isIdle ? resolve() : this.#onIdle.push(resolve)));
    await Promise.race([idle, deadline]);
    clearTimeout(timer);
    const message = 'The coordinator shut down before the answer was complete.';
    for (const sequence of [...this.queued, ...this.running]) {
      sequence.fail(new GenerationError('draining', message, DEFAULT_RETRY_S));
    }
  }

  /** Ends a request with an error that says so. Returns whether there was one. */
  stop(id: string, why: string): boolean {
    const sequence = [...this.running, ...this.queued].find(({ request }) => request.id === id);
    sequence?.fail(new GenerationError('stopped', why));
    return sequence !== undefined;
  }

  #openRunners(): PassRunner[] {
    const { forward, experts, timeline, clock } = this.#options;
    const options = {
      forward,
      experts,
      answers: this.#answers,
      speculation: this.speculation,
      costs: this.#costs,
      occupancy: this.occupancy,
      shares: new Shares(this.now),
      timeline,
      now: this.now,
      clock,
      onPass: (times: PassTimes): void => this.#countPass(times),
      onSources: (rows: number): void => {
        this.rows += rows;
        this.passes++;
      },
      onTokens: (sequence: Sequence, count: number): void => this.#handedOver(sequence, count),
    };
    return Array.from({ length: MAX_MICRO_BATCHES }, (_, i) => new PassRunner(i + 1, options));
  }

  #watch(sequence: Sequence): void {
    const { signal } = sequence.request;
    const { constraint } = sequence;
    // After a pass, others begin anyway.
    if (constraint) constraint.onMasks = () => sequence.inPass || this.#wake();
    const onEnded: WatchOptions['onEnded'] = (outcome, error) => {
      // Otherwise a pass may still use it.
      if (!sequence.cache) sequence.releaseAdapter?.();
      if (!error) this.#rate.ended(sequence.completionTokens, sequence.request.maxTokens);
      this.#options.onRequest?.(outcome, sequence, error);
    };
    watchRequest(sequence, { signal, timeoutMs: this.limits.requestTimeoutMs, what: 'The answer', onEnded });
  }

  get #isIdle(): boolean {
    return this.running.length === 0 && this.#runners.every((runner) => runner.isFree);
  }

  #beginPasses(): void {
    this.#admission.update();
    const count = this.#chooseMicroBatches();
    for (const runner of this.#runners) {
      const inUse = this.#runners.filter(({ isFree }) => !isFree).length;
      if (!runner.isFree || inUse >= count) continue;
      const microBatch = this.#builder.next(this.running, count, count - inUse);
      if (microBatch.sequences.length > 0) {
        // After whatever the laps left no time for: sockets, timers, new requests.
        void runner.pass(microBatch, ++this.#begun).then(() => setImmediate(() => this.#beginPasses()));
      }
    }
    if (this.#isIdle) for (const resolve of this.#onIdle.splice(0)) resolve();
  }

  #chooseMicroBatches(): 1 | 2 {
    const { microBatches } = this.limits;
    const rows = this.#builder.totalRows(this.running, MAX_MICRO_BATCHES);
    return (this.#microBatches = microBatches === 'auto' ? this.#count.choose(rows) : microBatches);
  }

  #handedOver(sequence: Sequence, count: number): void {
    const nowMs = this.now();
    const { admittedMs, lastTokensMs } = sequence;
    this.latency.tokens(sequence, nowMs, lastTokensMs);
    if (lastTokensMs !== undefined) this.#rate.tokens(count, nowMs - lastTokensMs);
    else this.#rate.firstToken(nowMs - admittedMs!);
    sequence.lastTokensMs = nowMs;
    sequence.firstTokensMs ??= nowMs;
    this.#admission.charge(sequence, count);
  }

  #refuse(reason: Refusal, message: string, retryMs?: number): GenerationError {
    this.refusals[reason]++;
    const intervalMs = this.#rate.intervalMs(this.running.length, this.#admission.inOrder(MAX_LOOK_AHEAD));
    const waitMs =
      retryMs ?? (intervalMs && this.#rate.retryAfterMs(intervalMs, this.now(), this.limits.maxQueue)) ?? null;
    return new GenerationError(reason, message, waitMs === null ? DEFAULT_RETRY_S : waitMs / 1000);
  }

  #countPass(times: PassTimes): void {
    this.#count.add(times);
    this.passMs.add(times.passMs);
    this.engineMs.add(times.engineMs);
    this.rows += times.rows;
    this.passes++;
  }
}

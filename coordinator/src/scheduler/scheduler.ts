import { type ExpertDispatch, type ForwardEngine, moeLayers } from '@shoal/model';
import type { BatchOptions } from '../laps/dispatcher.ts';
import { SampleWindow } from '../base/sample-window.ts';
import { Admission } from './queue/admission.ts';
import { Answers } from './batch/answers.ts';
import {
  GenerationError,
  type GenerationEvent,
  type GenerationRequest,
  type Refusal,
  type GenerationService,
} from './generation.ts';
import { MicroBatchCount } from './batch/micro-batch-count.ts';
import { PassRunner } from './batch/pass-runner.ts';
import { Latency } from './latency.ts';
import { Occupancy } from './batch/occupancy.ts';
import { Pace } from './queue/pace.ts';
import type { PassTimes } from './batch/pass-times.ts';
import { PrefillBudget } from './batch/prefill-budget.ts';
import { Sequence } from './sequence.ts';
import { MicroBatchBuilder } from './batch/micro-batch.ts';
import { Speculation, type SpeculationOptions } from './speculation/speculation.ts';
import { Waits } from './queue/waits.ts';
import type { Timeline } from '../timeline/timeline.ts';

export interface SchedulerOptions {
  modelId: string;
  forward: ForwardEngine;
  experts: { batch(options?: BatchOptions): ExpertDispatch };
  limits?: Partial<SchedulerLimits>;
  /** What ends an answer, where generation_config.json names other tokens than config.json. */
  eosTokenIds?: readonly number[] | undefined;
  speculation?: Partial<SchedulerSpeculationOptions> | undefined;
  /** Laps of a pass: one for each MoE layer, which is the default, but those that the coordinator holds. */
  lapsPerPass?: number;
  onRequest?: (
    event: 'submitted' | 'finished' | 'failed' | 'cancelled',
    request: GenerationRequest,
    error?: GenerationError,
  ) => void;
  timeline?: Timeline | undefined;
  /** Milliseconds of a clock; `performance.now()` by default. */
  now?: () => number;
}

export type SchedulerSpeculationOptions = Pick<
  SpeculationOptions,
  'mode' | 'maxDrafts' | 'hasMtpExperts' | 'lapsPerDraft' | 'onReading' | 'onFailure'
>;

export interface SchedulerLimits {
  /** Sequences decoded together. Each holds a KV cache, and each adds a row to every lap. */
  maxBatch: number;
  /** Requests that may wait; beyond it they get `queue-full` and a time to come back. */
  maxQueue: number;
  /** Prompt rows of one pass at most. */
  prefillRows: number;
  /** Beside running streams, as many as hold them up by no more than so many laps' time. */
  promptLaps: number;
  /** Passes in flight at a time, each of about an equal part of all rows; `auto`: two where that is seen to pay. */
  microBatches: 1 | 2 | 'auto';
  /** From submission to the last token. */
  requestTimeoutMs: number;
  /** Tabs that a token may use in a layer where its request doesn't say; undefined: no limit (exact routing). */
  deviceLimit?: number;
}

const DEFAULT_LIMITS: SchedulerLimits = {
  maxBatch: 64,
  maxQueue: 64,
  prefillRows: 256,
  promptLaps: 1,
  microBatches: 'auto',
  requestTimeoutMs: 10 * 60_000,
};
/** Half-batches in flight. More would read the weights more often, to fill waits that two leave only where laps are far longer. */
const MAX_MICRO_BATCHES = 2;
/** A guess for Retry-After until requests have been measured. */
const FIRST_RETRY_S = 2;
/** A request is refused for want of time when half of the wait that is expected is too long already. */
const SURELY = 2;

/**
 * Decodes all running sequences together (continuous batching, Orca 2022): each pass of the forward takes one row of every
 * decoding sequence and a bounded number of prompt rows; requests join and leave between passes. Where laps take long, two
 * passes of half the rows are in flight: while the laps of one are out, the engine computes the other (DeepSeek-V3 paper
 * §3.4.2, dual micro-batches, for a network in the place of an interconnect).
 */
export class Scheduler implements GenerationService {
  readonly modelId: string;
  readonly maxContext: number;
  readonly limits: SchedulerLimits;
  /** Wall time of a pass, and the engine's own work for it and for the drafts of the next one, without waiting. In milliseconds. */
  readonly passMs = new SampleWindow(256);
  readonly engineMs = new SampleWindow(256);
  readonly latency = new Latency();
  readonly occupancy: Occupancy;
  readonly speculation: Speculation;
  /** Milliseconds of the clock that all times here and of its sequences are on. */
  readonly now: () => number;
  /** Rows passed through the model, prompt rows included. */
  rows = 0;
  passes = 0;
  /** Requests that found no place, since start. */
  readonly refusals: Record<Refusal, number> = { 'queue-full': 0, 'share-full': 0, 'too-late': 0 };

  readonly #options: SchedulerOptions;
  readonly #admission: Admission;
  readonly #answers: Answers;
  readonly #shares: MicroBatchBuilder;
  readonly #prefillBudget: PrefillBudget;
  readonly #pace = new Pace();
  readonly #waits: Waits;
  readonly #microBatches: readonly PassRunner[];
  readonly #choice = new MicroBatchCount();
  #microBatchesNow: 1 | 2 = 1;
  #draining = false;
  #isWaking = false;
  /** Passes, failed ones too. */
  #begun = 0;
  /** Called when no microBatch has a pass any more. */
  #onIdle: (() => void)[] = [];

  constructor(options: SchedulerOptions) {
    this.#options = options;
    this.modelId = options.modelId;
    this.maxContext = options.forward.config.maxPositionEmbeddings;
    this.limits = { ...DEFAULT_LIMITS, ...options.limits };
    const { forward, experts, eosTokenIds = forward.config.eosTokenIds } = options;
    const { maxBatch, maxQueue, prefillRows, promptLaps } = this.limits;
    const { maxContext } = this;
    const { now = () => performance.now(), lapsPerPass = moeLayers(forward.config).length } = options;
    this.now = now;
    this.#prefillBudget = new PrefillBudget({ maxRows: prefillRows, lapsPerPass });
    const promptRowsBeside = (rows: number): number => this.#prefillBudget.rowsBeside(rows, promptLaps);
    const drafting = { forward, experts, maxContext, eosTokenIds, now, lapsPerPass, promptRowsBeside };
    this.speculation = new Speculation({ ...drafting, ...options.speculation });
    const drafterBytesPerToken = this.speculation.kvBytesPerToken;
    this.#admission = new Admission({ forward, maxContext, maxBatch, maxQueue, drafterBytesPerToken });
    this.#admission.onAdmitted = (sequence) => {
      sequence.admittedMs = now();
      this.latency.admitted(sequence, sequence.admittedMs);
    };
    this.#waits = new Waits({ admission: this.#admission, pace: this.#pace });
    this.#answers = new Answers({ maxContext, eosTokenIds });
    this.#shares = new MicroBatchBuilder(promptRowsBeside);
    this.occupancy = new Occupancy(now);
    this.#microBatches = this.#openRunners(now);
  }

  /** Of one more token in one sequence; the drafter's own cache comes on top. */
  get kvBytesPerToken(): number {
    return this.#options.forward.kvBytesPerToken;
  }

  /** Passes that an answer needed for each of its tokens, since start: less than 1 by drafts that were right. */
  get passesPerToken(): number | null {
    const { tokenPasses, chosen } = this.#answers;
    return chosen === 0 ? null : tokenPasses / chosen;
  }

  /** Generated since start. */
  get tokens(): number {
    return this.#answers.tokens;
  }

  /** Passes that there may be at a time now: 1, or 2 half-batches. */
  get microBatches(): 1 | 2 {
    return this.#microBatchesNow;
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

  /** Of requests that have ended, kept in case that another begins alike; it makes room when it is needed. */
  get kvBytesKept(): number {
    return this.#admission.kvBytesKept;
  }

  /** Prompt positions since start, and those of them that were not computed again because another request began alike. */
  get prefix(): { positions: number; reused: number } {
    return this.#admission.prefix;
  }

  /** No later request starts from what was computed until now: it may be wrong. */
  forgetPrefixes(): void {
    this.#admission.forgetPrefixes();
  }

  /** As GenerationService says. Takes its place in the queue at once, before the first event is read. */
  submit(request: GenerationRequest): AsyncIterable<GenerationEvent> {
    if (this.#draining) throw new GenerationError('draining', 'The coordinator is shutting down.', FIRST_RETRY_S);
    const { length } = request.promptIds;
    if (length === 0) throw new GenerationError('context-length', 'The prompt has no tokens.');
    if (length + Math.min(1, request.maxTokens) > this.maxContext) {
      throw new GenerationError(
        'context-length',
        `The prompt has ${length} tokens; with the answer's first it must fit the context of ${this.maxContext}.`,
      );
    }
    this.#admission.refuseBeyondKv(request);
    this.#admission.update();
    const { client = '' } = request;
    const refusal = this.#admission.refusal(client);
    if (refusal) {
      const retryMs = this.#waits.retryAfterMs(client, this.now());
      throw this.#refuse(refusal, `${this.queued.length} requests are waiting already.`, retryMs);
    }
    const sequence = new Sequence(request, this.now(), this.limits.deviceLimit);
    sequence.speculation = this.speculation.begin(sequence);
    this.#admission.add(sequence);
    this.#admission.update();
    this.#refuseWithoutTime(sequence);
    this.#waits.returned(client);
    this.#options.onRequest?.('submitted', request);
    this.#watch(sequence);
    this.#wake();
    return sequence.events();
  }

  /** Throws an GenerationError for a request that would surely spend all of its time in the queue, where it is now. */
  #refuseWithoutTime(sequence: Sequence): void {
    if (sequence.state !== 'queued') return;
    const waitMs = this.#waits.untilTurnMs(sequence);
    const longestMs = SURELY * this.limits.requestTimeoutMs;
    if (waitMs === null || waitMs <= longestMs) return;
    this.#admission.withdraw(sequence);
    throw this.#refuse('too-late', `The wait would be about ${Math.round(waitMs / 1000)} s.`, waitMs - longestMs);
  }

  /**
   * Take no more requests, let the accepted ones end, and end those that have not by `timeoutMs` with an error. Resolves by
   * then, whatever the pass at that moment still waits for.
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
      sequence.fail(new GenerationError('draining', message, FIRST_RETRY_S));
    }
  }

  #openRunners(now: () => number): PassRunner[] {
    const { forward, experts, timeline } = this.#options;
    const microBatch = {
      forward,
      experts,
      answers: this.#answers,
      speculation: this.speculation,
      occupancy: this.occupancy,
      timeline,
      now,
      onPass: (times: PassTimes): void => this.#countPass(times),
      onTokens: (sequence: Sequence, count: number): void => this.#handedOver(sequence, count),
    };
    return Array.from({ length: MAX_MICRO_BATCHES }, (_, i) => new PassRunner(i + 1, microBatch));
  }

  #watch(sequence: Sequence): void {
    const { signal } = sequence.request;
    const cancel = (): void => sequence.fail(new GenerationError('cancelled', 'The request was cancelled.'));
    signal.addEventListener('abort', cancel, { once: true });
    const { requestTimeoutMs } = this.limits;
    const timer = setTimeout(
      () => sequence.fail(new GenerationError('timeout', `The answer took more than ${requestTimeoutMs / 1000} s.`)),
      requestTimeoutMs,
    );
    sequence.onEnd = (error) => {
      clearTimeout(timer);
      signal.removeEventListener('abort', cancel);
      if (!error) this.#pace.ended(sequence.completionTokens, sequence.request.maxTokens);
      const outcome = error === undefined ? 'finished' : error.reason === 'cancelled' ? 'cancelled' : 'failed';
      this.#options.onRequest?.(outcome, sequence.request, error);
    };
    if (signal.aborted) cancel();
  }

  get #isIdle(): boolean {
    return this.running.length === 0 && this.#microBatches.every((microBatch) => microBatch.isFree);
  }

  /** Begin passes where microBatches are free, once whoever submits in the same turn has done so too. */
  #wake(): void {
    if (this.#isWaking) return;
    this.#isWaking = true;
    queueMicrotask(() => {
      this.#isWaking = false;
      this.#beginPasses();
    });
  }

  #beginPasses(): void {
    this.#admission.update();
    const microBatches = this.#chooseMicroBatches();
    for (const microBatch of this.#microBatches) {
      const inUse = this.#microBatches.filter(({ isFree }) => !isFree).length;
      if (!microBatch.isFree || inUse >= microBatches) continue;
      const share = this.#shares.take(this.running, microBatches, microBatches - inUse);
      if (share.sequences.length > 0) void microBatch.pass(share, ++this.#begun).then(() => this.#afterPass());
    }
    if (this.#isIdle) for (const resolve of this.#onIdle.splice(0)) resolve();
  }

  #chooseMicroBatches(): 1 | 2 {
    const { microBatches } = this.limits;
    const rows = this.#shares.totalRows(this.running, MAX_MICRO_BATCHES);
    return (this.#microBatchesNow = microBatches === 'auto' ? this.#choice.microBatches(rows) : microBatches);
  }

  /** After whatever the laps left no time for: sockets, timers, new requests. */
  #afterPass(): void {
    setImmediate(() => this.#beginPasses());
  }

  #handedOver(sequence: Sequence, count: number): void {
    const nowMs = this.now();
    const { admittedMs, lastTokensMs, reusedPositions } = sequence;
    this.latency.tokens(sequence, nowMs, lastTokensMs);
    if (lastTokensMs !== undefined) this.#pace.tokens(count, nowMs - lastTokensMs);
    else this.#pace.prompt(sequence.request.promptIds.length - reusedPositions, nowMs - admittedMs!);
    sequence.lastTokensMs = nowMs;
    this.#admission.charge(sequence, count);
  }

  #refuse(reason: Refusal, message: string, retryMs: number | null): GenerationError {
    this.refusals[reason]++;
    return new GenerationError(reason, message, retryMs === null ? FIRST_RETRY_S : retryMs / 1000);
  }

  #countPass(times: PassTimes): void {
    this.#choice.add(times);
    this.#prefillBudget.add(times);
    this.passMs.add(times.passMs);
    this.engineMs.add(times.engineMs);
    this.rows += times.rows;
    this.passes++;
  }
}

import {
  type ExpertDispatch,
  type ForwardEngine,
  type ForwardObserver,
  messageOf,
  ModelError,
  type RowAnswer,
} from '@shoal/model';
import type { BatchOptions } from '../../laps/dispatcher.ts';
import type { PassName, Timeline } from '../../timeline/timeline.ts';
import { GenerationError } from '../generation.ts';
import { Grace, type GraceClock } from '../grace.ts';
import type { Sequence } from '../sequence.ts';
import type { Speculation } from '../speculation/speculation.ts';
import type { Answers } from './answers.ts';
import { assembleBatch, type BatchEntry, batchOptions, inTime } from './batch.ts';
import { runFirstPass } from './first-pass.ts';
import type { MicroBatch } from './micro-batch.ts';
import type { Occupancy } from './occupancy.ts';
import type { PassCosts, PassTimes } from './pass-costs.ts';
import type { Shares } from './shares.ts';

export interface PassRunnerOptions {
  forward: ForwardEngine;
  experts: { batch(options?: BatchOptions): ExpertDispatch };
  answers: Answers;
  speculation: Speculation;
  costs: PassCosts;
  occupancy: Occupancy;
  shares: Shares;
  timeline: Timeline | undefined;
  now: () => number;
  /** Times how long constraints are awaited; the system's by default. */
  clock?: GraceClock | undefined;
  /** Called after a pass that succeeded, once the drafts for the next one are made. */
  onPass: (times: PassTimes) => void;
  /** Called after a pass that has encoded sources. */
  onSources: (rows: number) => void;
  /** Called when `count` tokens of a sequence have been handed to its reader. */
  onTokens: (sequence: Sequence, count: number) => void;
}

/** Runs one pass after another, each over one micro-batch; several runners may be in a pass at a time. */
export class PassRunner {
  readonly #options: PassRunnerOptions;
  readonly #microBatch: number;
  isFree = true;

  /** `microBatch` is the number of this runner's micro-batches on the timeline, from 1. */
  constructor(microBatch: number, options: PassRunnerOptions) {
    this.#microBatch = microBatch;
    this.#options = options;
  }

  /**
   * Passes the rows of a micro-batch through the model and lets each sequence advance. `pass` is the pass's number on the
   * timeline. Never throws.
   */
  async pass(microBatch: MicroBatch, pass: number): Promise<void> {
    return microBatch.encodes ? this.#encode(microBatch.sequences, pass) : this.#decode(microBatch, pass);
  }

  async #decode(microBatch: MicroBatch, pass: number): Promise<void> {
    const { forward, experts, speculation, costs, onPass, timeline } = this.#options;
    const name = { microBatch: this.#microBatch, pass };
    const watch = new PassWatch(name, this.#options);
    const observe = watch.observer;
    const { rows, entries } = assembleBatch(microBatch.sequences, microBatch.promptRows, watch.maskGrace);
    const share = this.#options.shares.begin(rows.length);
    for (const { sequence, numRows } of entries) sequence.rowsInPass = numRows;
    this.isFree = false;
    try {
      const first = await runFirstPass(this.#options, { rows, entries }, { pass: name, observe });
      const dispatch = experts.batch({ ...batchOptions(entries, first.scalings), pass: name });
      const result = await forward.forward(first.rows, dispatch, observe);
      const promptRows = [...microBatch.promptRows.values()].reduce((sum, count) => sum + count, 0);
      const shared = { shareMs: share.ms, meanRows: share.meanRows };
      const times = { rows: rows.length, promptRows, passMs: watch.elapsedMs, ...shared, ...watch.times };
      // Before drafting, which asks what passes cost.
      costs.add(times);
      const finite = entries.filter(({ sequence, firstRow, numRows, drafts }) => {
        // A draft's row matters only if the draft is right: taking its answer then throws the fault.
        const known = firstRow + numRows - drafts.tokens.length;
        const fault = [first.faults, result.faults ?? []].flatMap((of) => of.slice(firstRow, known)).find(Boolean);
        if (fault) abandon(sequence, fault);
        return !fault;
      });
      const computed = finite.flatMap((entry) => inTime(entry, result.answers) ?? []);
      for (const entry of computed) this.#advance(entry, result.answers);
      const spentMs = (): number => watch.ownMs;
      await speculation.prepare(computed, result, {
        pass: name,
        observe,
        grace: watch.draftGrace,
        spentMs,
      });
      for (const { sequence } of entries) askAhead(sequence);
      onPass(Object.assign(times, watch.times));
    } catch (error) {
      for (const { sequence } of entries) abandon(sequence, error);
    } finally {
      this.#options.shares.end(share);
      const { startedMs, endedMs } = watch.end();
      timeline?.pass({ ...name, rows: rows.length, sequences: entries.length, startedMs, endedMs });
      for (const { sequence } of entries) sequence.rowsInPass = 0;
      this.isFree = true;
    }
  }

  /** Encodes the sources of some sequences, which then decode. */
  async #encode(sequences: readonly Sequence[], pass: number): Promise<void> {
    const { forward, experts, timeline, onSources } = this.#options;
    const name = { microBatch: this.#microBatch, pass };
    const watch = new PassWatch(name, this.#options);
    const rows = sequences.reduce((sum, { request }) => sum + request.sourceLength!, 0);
    for (const sequence of sequences) sequence.rowsInPass = sequence.request.sourceLength!;
    this.isFree = false;
    try {
      const sources = sequences.map(({ request: { promptIds, sourceLength }, cache }) => {
        return { ids: promptIds.slice(0, sourceLength), cache: cache! };
      });
      const { faults } = await forward.encodeSources!(sources, experts.batch({ pass: name }), watch.observer);
      for (const [i, sequence] of sequences.entries()) {
        sequence.awaitsSource = false;
        if (faults?.[i]) abandon(sequence, faults[i]);
      }
      onSources(rows);
    } catch (error) {
      for (const sequence of sequences) abandon(sequence, error);
    } finally {
      const { startedMs, endedMs } = watch.end();
      timeline?.pass({ ...name, rows, sequences: sequences.length, startedMs, endedMs });
      for (const sequence of sequences) sequence.rowsInPass = 0;
      this.isFree = true;
    }
  }

  /** A row with damaged logits, or a constraint that fails, ends its own sequence only. */
  #advance(entry: BatchEntry, rowAnswers: readonly (RowAnswer | undefined)[]): void {
    const { answers, speculation, onTokens } = this.#options;
    const before = entry.sequence.completionTokens;
    try {
      answers.advance(entry, rowAnswers);
      speculation.judge(entry);
      const count = entry.sequence.completionTokens - before;
      if (count > 0) onTokens(entry.sequence, count);
    } catch (error) {
      abandon(entry.sequence, error);
    }
  }
}

type WatchOptions = Pick<PassRunnerOptions, 'occupancy' | 'timeline' | 'now' | 'clock'>;

/** Measures where the time of one pass goes. */
export class PassWatch {
  readonly observer: ForwardObserver;
  /** How long the pass waits for masks, and for what is asked about drafts. */
  readonly maskGrace: Grace;
  readonly draftGrace: Grace;
  readonly #occupancy: Occupancy;
  readonly #now: () => number;
  readonly #startedMs: number;
  #waitsSinceMs: number | undefined;
  #waitedMs = 0;
  /** Waiting for the threads while they ran another pass, except while a lap was out as well. */
  #queuedMs = 0;

  constructor(name: PassName, { occupancy, timeline, now, clock }: WatchOptions) {
    this.#occupancy = occupancy;
    this.#now = now;
    this.#startedMs = now();
    const elapsedMs = (): number => this.elapsedMs;
    this.maskGrace = new Grace(elapsedMs, clock);
    this.draftGrace = new Grace(elapsedMs, clock);
    occupancy.set(this, 'computing');
    this.observer = {
      awaitsMasks: () => this.maskGrace.begin(),
      waits: () => {
        this.#waitsSinceMs = now();
        occupancy.set(this, 'waiting');
      },
      resumes: (layer) => {
        const startedMs = this.#waitsSinceMs;
        if (startedMs === undefined) return;
        const endedMs = now();
        this.#waitedMs += endedMs - startedMs;
        this.#waitsSinceMs = undefined;
        occupancy.set(this, 'computing');
        timeline?.wait({ ...name, layer, startedMs, endedMs });
      },
      segment: (segment) => {
        this.#queuedMs += segment.startedMs - segment.queuedMs;
        timeline?.segment(segment, name);
      },
    };
  }

  get elapsedMs(): number {
    return this.#now() - this.#startedMs;
  }

  /** Time so far without that in which the threads ran another pass. */
  get ownMs(): number {
    return this.elapsedMs - this.#queuedMs;
  }

  /** Times so far, as `PassTimes` has them. */
  get times(): Pick<PassTimes, 'turnMs' | 'engineMs' | 'waitedMs'> {
    const turnMs = this.elapsedMs;
    const waitedMs = this.#waitedMs;
    return { turnMs, waitedMs, engineMs: Math.max(0, turnMs - waitedMs - this.#queuedMs) };
  }

  end(): { startedMs: number; endedMs: number } {
    this.#occupancy.end(this);
    this.maskGrace.close();
    this.draftGrace.close();
    return { startedMs: this.#startedMs, endedMs: this.#now() };
  }
}

/** Asks a slow constraint for its next masks, so that the sequence stays out of passes until they have come. */
function askAhead({ finished, state, constraint, speculation }: Sequence): void {
  if (!finished && state === 'decode' && constraint?.isSlow) constraint.masks(speculation?.drafts.tokens ?? []);
}

/** Ends a sequence with an error; the other sequences and the process go on. */
function abandon(sequence: Sequence, cause: unknown): void {
  if (cause instanceof GenerationError) return sequence.fail(cause);
  if (cause instanceof ModelError && cause.reason === 'nothing-allowed')
    return sequence.fail(new GenerationError('nothing-allowed', cause.message));
  sequence.fail(new GenerationError('internal', `A forward pass failed: ${messageOf(cause)}`));
}

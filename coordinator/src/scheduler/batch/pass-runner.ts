import type { ExpertDispatch, ForwardEngine, ForwardObserver, RowAnswer } from '@shoal/model';
import type { BatchOptions } from '../../laps/dispatcher.ts';
import type { Answers } from './answers.ts';
import { assembleBatch, type BatchEntry, batchOptions } from './batch.ts';
import { GenerationError } from '../generation.ts';
import type { Occupancy } from './occupancy.ts';
import type { PassTimes } from './pass-times.ts';
import type { Sequence } from '../sequence.ts';
import type { MicroBatch } from './micro-batch.ts';
import type { Speculation } from '../speculation/speculation.ts';
import type { PassName, Timeline } from '../../timeline/timeline.ts';

export interface PassRunnerOptions {
  forward: ForwardEngine;
  experts: { batch(options?: BatchOptions): ExpertDispatch };
  answers: Answers;
  speculation: Speculation;
  occupancy: Occupancy;
  timeline: Timeline | undefined;
  now: () => number;
  /** A pass that succeeded, and whose drafts are made. */
  onPass: (times: PassTimes) => void;
  /** So many tokens of a sequence were handed to its reader. */
  onTokens: (sequence: Sequence, count: number) => void;
}

/** One pass after another over some of the running sequences; several microBatches may be in a pass at a time. */
export class PassRunner {
  readonly #options: PassRunnerOptions;
  readonly #microBatch: number;
  isFree = true;

  /** `microBatch` is counted from 1. */
  constructor(microBatch: number, options: PassRunnerOptions) {
    this.#microBatch = microBatch;
    this.#options = options;
  }

  /**
   * Pass the share's rows through the model, and let each sequence advance by what comes of it. `pass` is its number on the
   * timeline. Never throws.
   */
  async pass(share: MicroBatch, pass: number): Promise<void> {
    const { forward, experts, speculation, onPass, timeline } = this.#options;
    const { rows, entries } = assembleBatch(share.sequences, share.promptRows);
    for (const { sequence, numRows } of entries) sequence.rowsInPass = numRows;
    this.isFree = false;
    const name = { microBatch: this.#microBatch, pass };
    const watch = new PassWatch(name, this.#options);
    try {
      const dispatch = experts.batch({ ...batchOptions(entries), pass: name });
      const result = await forward.forward(rows, dispatch, watch.observer);
      const passMs = watch.elapsedMs;
      speculation.notePass(rows.length, passMs);
      for (const entry of entries) this.#advance(entry, result.answers);
      await speculation.prepare(entries, result, { pass: name, observe: watch.observer });
      const promptRows = [...share.promptRows.values()].reduce((sum, count) => sum + count, 0);
      const { elapsedMs, engineMs, waitedMs } = watch;
      onPass({ rows: rows.length, promptRows, passMs, turnMs: elapsedMs, engineMs, waitedMs });
    } catch (error) {
      for (const { sequence } of entries) abandon(sequence, error);
    } finally {
      const { startedMs, endedMs } = watch.end();
      timeline?.pass({ ...name, rows: rows.length, sequences: entries.length, startedMs, endedMs });
      for (const { sequence } of entries) sequence.rowsInPass = 0;
      this.isFree = true;
    }
  }

  /** A row whose logits are damaged ends its own sequence and no other. */
  #advance(entry: BatchEntry, rowAnswers: readonly (RowAnswer | undefined)[]): void {
    const { answers, speculation, onTokens } = this.#options;
    const before = entry.sequence.completionTokens;
    try {
      const accepted = answers.advance(entry, rowAnswers);
      speculation.judge(entry, accepted);
      const count = entry.sequence.completionTokens - before;
      if (count > 0) onTokens(entry.sequence, count);
    } catch (error) {
      abandon(entry.sequence, error);
    }
  }
}

/** Where the time of one pass goes. */
class PassWatch {
  readonly observer: ForwardObserver;
  readonly #occupancy: Occupancy;
  readonly #now: () => number;
  readonly #startedMs: number;
  #waitsSinceMs: number | undefined;
  /** For nothing but laps, so far. */
  waitedMs = 0;
  /** For the threads, which ran another pass's operations; without what passed while a lap was out as well. */
  #queuedMs = 0;

  constructor(name: PassName, { occupancy, timeline, now }: Pick<PassRunnerOptions, 'occupancy' | 'timeline' | 'now'>) {
    this.#occupancy = occupancy;
    this.#now = now;
    this.#startedMs = now();
    occupancy.set(this, 'computing');
    this.observer = {
      waits: () => {
        this.#waitsSinceMs = now();
        occupancy.set(this, 'waiting');
      },
      resumes: (layer) => {
        const startedMs = this.#waitsSinceMs;
        if (startedMs === undefined) return;
        const endedMs = now();
        this.waitedMs += endedMs - startedMs;
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

  /** Own work so far, on the threads and on this one. */
  get engineMs(): number {
    return Math.max(0, this.elapsedMs - this.waitedMs - this.#queuedMs);
  }

  end(): { startedMs: number; endedMs: number } {
    this.#occupancy.end(this);
    return { startedMs: this.#startedMs, endedMs: this.#now() };
  }
}

/** It ends with an error; the other sequences and the process go on. */
function abandon(sequence: Sequence, cause: unknown): void {
  const message = cause instanceof Error ? cause.message : String(cause);
  sequence.fail(new GenerationError('internal', `A forward pass failed: ${message}`));
}

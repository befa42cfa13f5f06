import type { ExpertDispatch, ForwardEngine, ForwardObserver } from '@shoal/model';
import type { BatchOptions } from '../dispatch/dispatcher.ts';
import type { Answers } from './answers.ts';
import { assembleBatch, type BatchEntry, batchOptions } from './batch.ts';
import { EngineError } from './contract.ts';
import type { PassTimes } from './lane-choice.ts';
import type { Occupancy } from './occupancy.ts';
import type { Sequence } from './sequence.ts';
import type { Share } from './share.ts';
import type { Speculation } from './speculation/speculation.ts';

export interface LaneOptions {
  forward: ForwardEngine;
  experts: { batch(options?: BatchOptions): ExpertDispatch };
  answers: Answers;
  speculation: Speculation;
  occupancy: Occupancy;
  /** A pass that succeeded, and its wall time in milliseconds. */
  onPass: (times: PassTimes, passMs: number) => void;
}

/** One pass after another over some of the running sequences; several lanes may be in a pass at a time. */
export class Lane {
  readonly #options: LaneOptions;
  isFree = true;

  constructor(options: LaneOptions) {
    this.#options = options;
  }

  /** Pass the share's rows through the model, and let each sequence advance by what comes of it. Never throws. */
  async pass(share: Share): Promise<void> {
    const { forward, experts, occupancy, speculation, onPass } = this.#options;
    const { rows, entries } = assembleBatch(share.sequences, share.prefillRows);
    for (const { sequence, numRows } of entries) sequence.rowsInPass = numRows;
    this.isFree = false;
    const watch = new PassWatch(occupancy);
    try {
      const result = await forward.forward(rows, experts.batch(batchOptions(entries)), watch.observer);
      onPass({ rows: rows.length, engineMs: watch.engineMs, waitedMs: watch.waitedMs }, watch.passMs);
      for (const entry of entries) this.#advance(entry, result.logits);
      await speculation.prepare(entries, result);
    } catch (error) {
      for (const { sequence } of entries) abandon(sequence, error);
    } finally {
      watch.end();
      for (const { sequence } of entries) sequence.rowsInPass = 0;
      this.isFree = true;
    }
  }

  /** A row whose logits are damaged ends its own sequence and no other. */
  #advance(entry: BatchEntry, logits: readonly (Float32Array | undefined)[]): void {
    const { answers, speculation } = this.#options;
    try {
      const accepted = answers.advance(entry, logits);
      speculation.judge(entry, accepted);
    } catch (error) {
      abandon(entry.sequence, error);
    }
  }
}

/** Where the time of one pass goes. */
class PassWatch {
  readonly observer: ForwardObserver;
  readonly #occupancy: Occupancy;
  readonly #startedMs = performance.now();
  #waitsSinceMs: number | undefined;
  /** For nothing but laps, so far. */
  waitedMs = 0;
  /** For the threads, which ran another pass's operations; without what passed while a lap was out as well. */
  #queuedMs = 0;

  constructor(occupancy: Occupancy) {
    this.#occupancy = occupancy;
    occupancy.set(this, 'computing');
    this.observer = {
      waits: () => {
        this.#waitsSinceMs = performance.now();
        occupancy.set(this, 'waiting');
      },
      resumes: () => {
        if (this.#waitsSinceMs === undefined) return;
        this.waitedMs += performance.now() - this.#waitsSinceMs;
        this.#waitsSinceMs = undefined;
        occupancy.set(this, 'computing');
      },
      segment: ({ queuedMs, startedMs }) => (this.#queuedMs += startedMs - queuedMs),
    };
  }

  get passMs(): number {
    return performance.now() - this.#startedMs;
  }

  /** Own work of the pass, on the threads and on this one. */
  get engineMs(): number {
    return Math.max(0, this.passMs - this.waitedMs - this.#queuedMs);
  }

  end(): void {
    this.#occupancy.end(this);
  }
}

/** It ends with an error; the other sequences and the process go on. */
function abandon(sequence: Sequence, cause: unknown): void {
  const message = cause instanceof Error ? cause.message : String(cause);
  sequence.fail(new EngineError('internal', `A forward pass failed: ${message}`));
}

import type { ExpertDispatch, ForwardEngine } from '@shoal/model';
import type { BatchOptions } from '../dispatch/dispatcher.ts';
import type { Answers } from './answers.ts';
import { assembleBatch, type BatchEntry, batchOptions, timeLaps } from './batch.ts';
import { EngineError } from './contract.ts';
import type { Sequence } from './sequence.ts';
import type { Speculation } from './speculation/speculation.ts';

export interface LaneOptions {
  forward: ForwardEngine;
  experts: { batch(options?: BatchOptions): ExpertDispatch };
  answers: Answers;
  speculation: Speculation;
  /** Prompt rows of one pass at most. */
  prefillRows: number;
  /** A pass that succeeded: its rows, its wall time, and what of that was not spent waiting for laps, in milliseconds. */
  onPass: (rows: number, passMs: number, engineMs: number) => void;
}

/** One pass after another over some of the running sequences. */
export class Lane {
  readonly #options: LaneOptions;

  constructor(options: LaneOptions) {
    this.#options = options;
  }

  /** Pass the sequences' next rows through the model, and let each advance by what comes of it. Never throws. */
  async pass(sequences: readonly Sequence[]): Promise<void> {
    const { forward, experts, prefillRows, speculation, onPass } = this.#options;
    const { rows, entries } = assembleBatch(sequences, prefillRows);
    for (const { sequence } of entries) sequence.inPass = true;
    const startedMs = performance.now();
    const timed = timeLaps(experts.batch(batchOptions(entries)));
    try {
      const result = await forward.forward(rows, timed.experts);
      const passMs = performance.now() - startedMs;
      onPass(rows.length, passMs, passMs - timed.waitedMs());
      for (const entry of entries) this.#advance(entry, result.logits);
      await speculation.prepare(entries, result);
    } catch (error) {
      for (const { sequence } of entries) abandon(sequence, error);
    } finally {
      for (const { sequence } of entries) sequence.inPass = false;
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

/** It ends with an error; the other sequences and the process go on. */
function abandon(sequence: Sequence, cause: unknown): void {
  const message = cause instanceof Error ? cause.message : String(cause);
  sequence.fail(new EngineError('internal', `A forward pass failed: ${message}`));
}

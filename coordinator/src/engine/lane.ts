import type { ExpertDispatch, ForwardEngine } from '@shoal/model';
import type { BatchOptions } from '../dispatch/dispatcher.ts';
import type { Answers } from './answers.ts';
import { assembleBatch, type BatchEntry, batchOptions, timeLaps } from './batch.ts';
import { EngineError } from './contract.ts';
import type { PassCost } from './prefill-budget.ts';
import type { Sequence } from './sequence.ts';

export interface LaneOptions {
  forward: ForwardEngine;
  experts: { batch(options?: BatchOptions): ExpertDispatch };
  answers: Answers;
  /** A pass that succeeded, and what of its time was not spent waiting for laps, in milliseconds. */
  onPass: (cost: PassCost, engineMs: number) => void;
  /** So many tokens of a sequence were handed to its reader. */
  onTokens: (sequence: Sequence, count: number) => void;
}

/** One pass after another over some of the running sequences. */
export class Lane {
  readonly #options: LaneOptions;

  constructor(options: LaneOptions) {
    this.#options = options;
  }

  /** Pass the sequences' next rows through the model, and let each advance by what comes of it. Never throws. */
  async pass(sequences: readonly Sequence[], promptRows: ReadonlyMap<Sequence, number>): Promise<void> {
    const { forward, experts, onPass } = this.#options;
    const { rows, entries } = assembleBatch(sequences, promptRows);
    const prompts = entries.reduce((sum, { sequence, numRows }) => sum + (promptRows.has(sequence) ? numRows : 0), 0);
    for (const { sequence } of entries) sequence.inPass = true;
    const startedMs = performance.now();
    const timed = timeLaps(experts.batch(batchOptions(entries)));
    try {
      const { logits } = await forward.forward(rows, timed.experts);
      const passMs = performance.now() - startedMs;
      const cost = { decodeRows: rows.length - prompts, promptRows: prompts, passMs };
      onPass(cost, passMs - timed.waitedMs());
      for (const entry of entries) this.#advance(entry, logits);
    } catch (error) {
      for (const { sequence } of entries) abandon(sequence, error);
    } finally {
      for (const { sequence } of entries) sequence.inPass = false;
    }
  }

  /** A row whose logits are damaged ends its own sequence and no other. */
  #advance(entry: BatchEntry, logits: readonly (Float32Array | undefined)[]): void {
    const { answers, onTokens } = this.#options;
    const before = entry.sequence.completionTokens;
    try {
      answers.advance(entry, logits);
      const count = entry.sequence.completionTokens - before;
      if (count > 0) onTokens(entry.sequence, count);
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

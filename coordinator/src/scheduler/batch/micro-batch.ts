import { PromptRows } from './prompt-rows.ts';
import type { Sequence } from '../sequence.ts';

/** What one pass takes of the running sequences. */
export interface MicroBatch {
  sequences: Sequence[];
  /** Of those whose prompts are being computed, the rows of each, 1 at least. */
  promptRows: ReadonlyMap<Sequence, number>;
}

/** A share may be so much larger rather than cut a prompt's last rows off, which would cost their sequence whole laps. */
const SLACK = 4 / 3;

/** Divides the rows of the running sequences among the microBatches' passes. */
export class MicroBatchBuilder {
  readonly #promptRowsBeside: (decodeRows: number) => number;
  readonly #prompts = new PromptRows();

  /** `promptRowsBeside`: prompt rows of a pass at most, beside so many of decoding sequences. */
  constructor(promptRowsBeside: (decodeRows: number) => number) {
    this.#promptRowsBeside = promptRowsBeside;
  }

  /**
   * The next pass of one of `microBatches` micro-batches, of which so many are free: about its part of all rows, of sequences that no other
   * pass has. Decoding sequences come first, in their order, then prompt rows, as many as the budget allows and the share has
   * room for. Where that is less than half of the shortest prompt's piece, prompts are left to another micro-batch, since each piece
   * costs its sequence whole laps.
   */
  take(running: readonly Sequence[], microBatches: number, freeRunners: number): MicroBatch {
    const share = Math.ceil(this.totalRows(running, microBatches) / microBatches);
    const ready = running.filter((sequence) => !sequence.inPass);
    const sequences: Sequence[] = [];
    let rows = 0;
    for (const sequence of ready) {
      if (sequence.state === 'prefill') continue;
      if (rows + sequence.rowsAhead / 2 > share) break;
      sequences.push(sequence);
      rows += sequence.rowsAhead;
    }
    // The other free microBatches have their part of the prompts: a prompt can be in one pass at a time.
    const prompts = ready.filter(({ state }) => state === 'prefill').filter((_, i) => i % freeRunners === 0);
    const most = this.#promptRows(running, microBatches);
    const isAlone = rows === 0 && prompts.length === 1;
    const promptRows = this.#divide(prompts, most, isAlone ? most : share - rows);
    return { sequences: [...sequences, ...promptRows.keys()], promptRows };
  }

  /** Rows that the next passes of all microBatches have together, where each takes its share. */
  totalRows(running: readonly Sequence[], microBatches: number): number {
    const most = this.#promptRows(running, microBatches);
    let [decode, prefill] = [0, 0];
    for (const sequence of running) {
      // As many again, for all that is known before it has ended.
      if (sequence.inPass) decode += sequence.rowsInPass;
      else if (sequence.state === 'prefill') prefill += Math.min(sequence.rowsAhead, most);
      else decode += sequence.rowsAhead;
    }
    return decode + Math.min(prefill, microBatches * most);
  }

  /** Prompt rows of one microBatch's pass at most. */
  #promptRows(running: readonly Sequence[], microBatches: number): number {
    let rows = 0;
    for (const sequence of running) {
      // In another pass all its rows are known by then, and nothing is ahead: but it waits for its next token all the same.
      if (sequence.state === 'decode') rows += Math.max(1, sequence.rowsAhead);
    }
    return this.#promptRowsBeside(Math.ceil(rows / microBatches));
  }

  #divide(prompts: readonly Sequence[], most: number, room: number): ReadonlyMap<Sequence, number> {
    const shortest = Math.min(most, ...prompts.map(({ rowsAhead }) => rowsAhead));
    if (room < shortest / 2) return new Map();
    const work = prompts.map(({ request, rowsAhead }) => ({ client: request.client ?? '', remaining: rowsAhead }));
    const wanted = Math.min(
      most,
      prompts.reduce((rows, { rowsAhead }) => rows + rowsAhead, 0),
    );
    const rows = this.#prompts.of(work, wanted <= SLACK * room ? wanted : Math.min(most, room));
    return new Map(prompts.map((sequence, i) => [sequence, rows[i]!] as const).filter(([, count]) => count > 0));
  }
}

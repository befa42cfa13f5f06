import { PromptRows } from './prompt-rows.ts';
import type { Sequence } from '../sequence.ts';

/** What one pass computes of the running sequences. */
export interface MicroBatch {
  sequences: Sequence[];
  /** The prompt rows (1 at least) of each sequence in prefill. */
  promptRows: ReadonlyMap<Sequence, number>;
  /** Whether the pass encodes these sequences' sources, and computes nothing else. */
  encodes?: boolean;
}

/** Rows of a pass that encodes sources, unless a single source has more: as many as one lap to a tab may have. */
const SOURCE_ROWS = 512;

/** A micro-batch may be larger than its share by this factor to take a whole prompt: its last rows would cost extra laps. */
const SLACK = 4 / 3;

/** Divides the rows of the running sequences into micro-batches. */
export class MicroBatchBuilder {
  readonly #promptRowsBeside: (decodeRows: number) => number;
  readonly #prompts = new PromptRows();
  #hasEncoded = false;

  /** `promptRowsBeside` gives the most prompt rows of a pass beside that many decoding rows. */
  constructor(promptRowsBeside: (decodeRows: number) => number) {
    this.#promptRowsBeside = promptRowsBeside;
  }

  /**
   * The next of `microBatches` micro-batches, `freeRunners` of which are not in a pass: about an equal part of all rows, from
   * sequences that are in no other pass and await no mask. Decoding sequences come first, then as many prompt rows as the budget
   * and the share allow. If that is less than half of what the shortest prompt could take, prompts are left to another micro-batch, because
   * every piece of a prompt costs its sequence a lap for each layer. Sources are encoded first, in passes of their own; after each of
   * these decoding sequences have a turn.
   */
  next(running: readonly Sequence[], microBatches: number, freeRunners: number): MicroBatch {
    const sources = this.#sources(running);
    const hasTurn = sources.length > 0 && !this.#hasEncoded;
    const decoding = hasTurn ? undefined : this.#decoding(running, microBatches, freeRunners);
    this.#hasEncoded = !decoding?.sequences.length && sources.length > 0;
    return this.#hasEncoded ? { sequences: sources, promptRows: new Map(), encodes: true } : decoding!;
  }

  /** Sequences whose sources make one pass, in the order in which they were admitted. */
  #sources(running: readonly Sequence[]): Sequence[] {
    const sources: Sequence[] = [];
    let rows = 0;
    for (const sequence of running) {
      if (!sequence.awaitsSource || sequence.inPass) continue;
      rows += sequence.request.sourceLength!;
      if (rows > SOURCE_ROWS && sources.length > 0) break;
      sources.push(sequence);
    }
    return sources;
  }

  #decoding(running: readonly Sequence[], microBatches: number, freeRunners: number): MicroBatch {
    const share = Math.ceil(this.totalRows(running, microBatches) / microBatches);
    const ready = running.filter(({ isReady, awaitsSource }) => isReady && !awaitsSource);
    const sequences: Sequence[] = [];
    let rows = 0;
    for (const sequence of ready) {
      if (sequence.state === 'prefill') continue;
      if (rows + sequence.rowsAhead / 2 > share) break;
      sequences.push(sequence);
      rows += sequence.rowsAhead;
    }
    // The other free runners get their part of the prompts: a prompt can be in one pass at a time.
    const prompts = ready.filter(({ state }) => state === 'prefill').filter((_, i) => i % freeRunners === 0);
    const most = this.#promptRows(running, microBatches);
    const isAlone = rows === 0 && prompts.length === 1;
    const promptRows = this.#divide(prompts, most, isAlone ? most : share - rows);
    return { sequences: [...sequences, ...promptRows.keys()], promptRows };
  }

  /** Rows of the next passes of all micro-batches together. */
  totalRows(running: readonly Sequence[], microBatches: number): number {
    const most = this.#promptRows(running, microBatches);
    let [decode, prefill] = [0, 0];
    for (const sequence of running) {
      if (sequence.awaitsSource) continue;
      // Its next pass is assumed to be as large as the current one.
      if (sequence.inPass) decode += sequence.rowsInPass;
      else if (!sequence.isReady) continue;
      else if (sequence.state === 'prefill') prefill += Math.min(sequence.rowsAhead, most);
      else decode += sequence.rowsAhead;
    }
    return decode + Math.min(prefill, microBatches * most);
  }

  /** The most prompt rows of one micro-batch. */
  #promptRows(running: readonly Sequence[], microBatches: number): number {
    let rows = 0;
    for (const sequence of running) {
      // In another pass nothing is ahead of it, but it still waits for its next token.
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

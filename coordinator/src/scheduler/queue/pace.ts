import type { Sequence } from '../sequence.ts';

/** Sums of the last so many observations. */
class RecentRatio {
  readonly #over: Float64Array;
  readonly #under: Float64Array;
  #count = 0;
  /** undefined: to be computed. */
  #value: number | null | undefined;

  constructor(size: number) {
    this.#over = new Float64Array(size);
    this.#under = new Float64Array(size);
  }

  add(over: number, under: number): void {
    const at = this.#count++ % this.#over.length;
    this.#over[at] = over;
    this.#under[at] = under;
    this.#value = undefined;
  }

  /** null before there is anything to divide by. */
  get value(): number | null {
    if (this.#value !== undefined) return this.#value;
    const under = sum(this.#under);
    return (this.#value = under > 0 ? sum(this.#over) / under : null);
  }
}

/** What is left of an answer, as far as can be told. */
export interface RemainingWork {
  promptRows: number;
  /** Tokens that it may still write. */
  maxTokens: number;
}

/**
 * How fast one request comes forward beside as many others as there are: from what requests have taken lately, so that
 * round trips, speculation and shared prompt budgets are all in it.
 */
export class Pace {
  readonly #promptRowMs = new RecentRatio(64);
  readonly #tokenMs = new RecentRatio(512);
  readonly #written = new RecentRatio(64);

  /** A request's prompt of so many rows was computed in this time, from its place in the batch to its first token. */
  prompt(rows: number, ms: number): void {
    this.#promptRowMs.add(ms, rows);
  }

  /** So many further tokens came after this time. */
  tokens(count: number, ms: number): void {
    this.#tokenMs.add(ms, count);
  }

  /** An answer ended by itself: how much it wrote of what it might have. */
  ended(tokens: number, maxTokens: number): void {
    this.#written.add(tokens, maxTokens);
  }

  /** Milliseconds that a request with this before it is expected to hold its place; null while nothing was measured. */
  expectedMs({ promptRows, maxTokens }: RemainingWork): number | null {
    const tokenMs = this.#tokenMs.value;
    if (tokenMs === null) return null;
    // Answers that end early do so anywhere: what is left shrinks by the same share as the whole.
    const tokens = maxTokens * (this.#written.value ?? 1);
    return promptRows * (this.#promptRowMs.value ?? tokenMs) + tokens * tokenMs;
  }
}

export function remainingWork(sequence: Sequence): RemainingWork {
  const { promptIds, maxTokens } = sequence.request;
  return {
    promptRows: Math.max(0, promptIds.length - (sequence.cache?.length ?? 0)),
    maxTokens: maxTokens - sequence.completionTokens,
  };
}

/**
 * When the places of the queue come free: at each end of a running request the next one of those that wait takes its place.
 * All in milliseconds from now: `running`, until each ends; `waiting`, how long each will run, in the order of their turns.
 * → [count], ascending: when the first, second … of them has left the queue. Beyond `waiting`, others of its mean length.
 */
export function turnsMs(running: readonly number[], waiting: readonly number[], count: number): number[] {
  const ends = running.toSorted((a, b) => a - b);
  const mean = waiting.length > 0 ? sum(waiting) / waiting.length : sum(running) / Math.max(1, running.length);
  const turns: number[] = [];
  for (let i = 0; i < count && ends.length > 0; i++) {
    const turn = ends.shift()!;
    turns.push(turn);
    const end = turn + (waiting[i] ?? mean);
    const after = ends.findIndex((other) => other > end);
    ends.splice(after < 0 ? ends.length : after, 0, end);
  }
  return turns;
}

function sum(values: Iterable<number>): number {
  let total = 0;
  for (const value of values) total += value;
  return total;
}

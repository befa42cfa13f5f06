/** Times of either way that are remembered, and that are needed before the faster one is used. */
const RECENT = 5;
/** One time in this many the slower way is taken, since the machine's load changes. */
const RETRY_EVERY = 32;
/** What takes this long is divided among the threads in any case: it gains more than they cost each other. */
const LONG_MS = 0.25;

/**
 * Chooses whether work of one kind is done by all threads together or by one alone. For a small model's layers, waking threads and
 * waiting for them takes longer than the work. Medians, since on a shared machine some times are ten times the others.
 */
export class FasterWay {
  #uses = 0;
  readonly #aloneMs: number[] = [];
  readonly #togetherMs: number[] = [];

  /** Whether to do it together this time. */
  choose(): boolean {
    const use = this.#uses++;
    if (this.#togetherMs.length < RECENT || Math.min(...this.#togetherMs) >= LONG_MS) return true;
    if (this.#aloneMs.length < RECENT) return use % 2 === 0;
    const faster = median(this.#togetherMs) <= median(this.#aloneMs);
    return use % RETRY_EVERY === 0 ? !faster : faster;
  }

  /** Adds how long it took. */
  add(together: boolean, ms: number): void {
    const times = together ? this.#togetherMs : this.#aloneMs;
    times.push(ms);
    if (times.length > RECENT) times.shift();
  }
}

function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[values.length >> 1]!;
}

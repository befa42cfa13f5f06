import { type Clock, systemClock } from '../base/clock.ts';

export type GraceClock = Pick<Clock, 'setTimeout' | 'setImmediate' | 'clear'>;

/** Above what a mask takes in a large vocabulary (4 ms), its way to the grammar's thread and back, and the tick of a timer. */
export const QUICK_MS = 10;
/** As long as masks take when 64 answers ask for one at once (p99), so that they seldom miss a pass. */
const MOST_MS = 50;

/** A constraint has not answered in time for a pass. */
export class LateAnswer extends Error {
  constructor() {
    super("The constraint on the answer's tokens has not answered in time for this pass.");
    this.name = 'LateAnswer';
  }
}

/**
 * How long a pass waits for the constraints of its answers when it has nothing else to do: as long as it has taken so far,
 * within bounds. Whoever is late misses the pass, and the others go on.
 */
export class Grace {
  readonly #elapsedMs: () => number;
  readonly #clock: GraceClock;
  readonly #over: Promise<never>;
  #end!: (reason: LateAnswer) => void;
  #timer: ReturnType<GraceClock['setTimeout']> | undefined;

  /** `elapsedMs` is the time since the pass began. */
  constructor(elapsedMs: () => number, clock: GraceClock = systemClock) {
    this.#elapsedMs = elapsedMs;
    this.#clock = clock;
    this.#over = new Promise((_, reject) => (this.#end = reject));
    this.#over.catch(() => {});
  }

  /** The answer, or a rejection with a LateAnswer, which has a listener. */
  limit<T>(answer: Promise<T>): Promise<T> {
    const limited = Promise.race([answer, this.#over]);
    limited.catch(() => {});
    return limited;
  }

  /** Begins when nothing is left to do but wait. */
  begin(): void {
    if (this.#timer) return;
    const graceMs = Math.min(MOST_MS, Math.max(QUICK_MS, this.#elapsedMs()));
    // What arrived while this thread was busy is in time.
    const over = (): void => this.#clock.setImmediate(() => this.#end(new LateAnswer()));
    this.#timer = this.#clock.setTimeout(over, graceMs);
  }

  /** Ends the wait, when all that was awaited is there. */
  close(): void {
    this.#clock.clear(this.#timer);
  }
}

/** Time of the first nudge after a submit, the finest that timers allow. */
const FIRST_MS = 1;
/** Interval of later nudges as a share of the time that has passed, so that long work is polled rarely. */
const GROWTH = 0.25;

/**
 * Makes browsers notice sooner that a GPU has finished. They poll for it, so that a finished lap waits for up to 2 ms in Chromium
 * and 100 ms in Firefox (bug 1870699); any submit makes them poll at once. While a result is awaited, empty submits do so.
 */
export class Nudge {
  readonly #queue: Pick<GPUQueue, 'submit'>;
  #waiting = 0;
  #sinceMs = 0;
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(queue: Pick<GPUQueue, 'submit'>) {
    this.#queue = queue;
  }

  /** Nudges the queue until `work`, which was just submitted, settles. */
  async during<T>(work: Promise<T>): Promise<T> {
    this.#waiting++;
    this.#sinceMs = performance.now();
    this.#again(FIRST_MS);
    try {
      return await work;
    } finally {
      if (--this.#waiting === 0) this.stop();
    }
  }

  stop(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }

  #again(ms: number): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => {
      this.#queue.submit([]);
      this.#again(Math.max(FIRST_MS, GROWTH * (performance.now() - this.#sinceMs)));
    }, ms);
  }
}

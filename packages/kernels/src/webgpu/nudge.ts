/** First nudge after a submit; timers are no finer. */
const FIRST_MS = 1;
/** Later ones come after so much of the time that has passed: what takes long is not asked after often. */
const GROWTH = 0.25;

/**
 * Browsers learn that a GPU has finished by asking it, and between two questions a finished lap lies there: up to 2 ms in
 * Chromium, 100 ms in Firefox (bug 1870699). Whatever is submitted makes them ask at once, so nothing is submitted now and then
 * while somebody waits.
 */
export class Nudge {
  readonly #queue: Pick<GPUQueue, 'submit'>;
  #waiting = 0;
  #sinceMs = 0;
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(queue: Pick<GPUQueue, 'submit'>) {
    this.#queue = queue;
  }

  /** While `work`, which was just submitted, is waited for. */
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

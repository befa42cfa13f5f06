/** How often a giver looks whether the tab's own work is over. */
const IDLE_POLL_MS = 5;
/** What may be sent at once after a pause. */
const BURST_MS = 50;

export interface UploadLineOptions {
  /** Whether no lap is queued or running. */
  isIdle: () => boolean;
  now: () => number;
  sleep: (ms: number) => Promise<void>;
}

/** What one tab may send to others, all together: at most so many bytes a second, and nothing during its own laps. */
export class UploadLine {
  readonly #options: UploadLineOptions;
  #bytesPerMs = 0;
  /** When all that was let through will have been paid for. */
  #freeMs = Number.NEGATIVE_INFINITY;
  #turn: Promise<void> = Promise.resolve();

  constructor(options: UploadLineOptions) {
    this.#options = options;
  }

  setRate(bitsPerSecond: number): void {
    this.#bytesPerMs = bitsPerSecond / 8000;
  }

  /** Resolves when so many bytes may be sent, in the order of the calls. */
  pass(bytes: number): Promise<void> {
    const passed = this.#turn.then(() => this.#pass(bytes));
    this.#turn = passed;
    return passed;
  }

  async #pass(bytes: number): Promise<void> {
    const { isIdle, now, sleep } = this.#options;
    for (;;) {
      const waitMs = this.#freeMs - now();
      if (waitMs > 0) await sleep(waitMs);
      else if (!isIdle()) await sleep(IDLE_POLL_MS);
      else break;
    }
    this.#freeMs = Math.max(this.#freeMs, now() - BURST_MS) + bytes / this.#bytesPerMs;
  }
}

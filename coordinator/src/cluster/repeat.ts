/**
 * Runs `turn` again and again, one at a time: after as long as the last turn said, or at once
 * when `now` is called. A turn must not reject.
 */
export class Repeat {
  readonly #turn: () => Promise<number>;
  #timer: NodeJS.Timeout | undefined;
  #running: Promise<void> | undefined;
  #again = false;
  #stopped = false;

  /** @param turn resolves to the milliseconds until the next one */
  constructor(turn: () => Promise<number>) {
    this.#turn = turn;
  }

  /** Resolves after a turn that began now or later. */
  async now(): Promise<void> {
    if (this.#stopped) return;
    if (this.#running) {
      this.#again = true;
      await this.#running;
      return this.#running;
    }
    clearTimeout(this.#timer);
    return (this.#running = this.#run());
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    clearTimeout(this.#timer);
    await this.#running;
  }

  async #run(): Promise<void> {
    const waitMs = await this.#turn();
    this.#running = undefined;
    if (this.#stopped) return;
    if (this.#again) {
      this.#again = false;
      this.#running = this.#run();
    } else {
      this.#timer = setTimeout(() => void this.now(), waitMs).unref();
    }
  }
}

/** Reads one at a time: what is asked for meanwhile is read once more afterwards. */
export class OneReading {
  readonly #readOnce: () => Promise<boolean>;
  #running: Promise<void> | undefined;
  #again = false;
  #isClosed = false;

  /** `readOnce` never rejects; false if nothing could be read, which ends this reading. */
  constructor(readOnce: () => Promise<boolean>) {
    this.#readOnce = readOnce;
  }

  /** Resolves when the reading that is under way then has ended. */
  async start(): Promise<void> {
    if (this.#isClosed) return;
    if (this.#running) this.#again = true;
    else
      this.#running = this.#readAll().finally(() => {
        this.#running = undefined;
      });
    await this.#running;
  }

  close(): void {
    this.#isClosed = true;
  }

  async #readAll(): Promise<void> {
    do {
      this.#again = false;
      if (!(await this.#readOnce())) return;
    } while (this.#again && !this.#isClosed);
  }
}

/** A clock that advances when nothing is left to run. */
export class VirtualTime {
  nowMs = 0;
  /** By time; of equal times the earlier one asked for comes first. */
  readonly #due: { atMs: number; run: () => void }[] = [];

  after(delayMs: number): Promise<void> {
    return this.until(this.nowMs + delayMs);
  }

  until(atMs: number): Promise<void> {
    return new Promise((run) => {
      const later = this.#due.findIndex((event) => event.atMs > atMs);
      this.#due.splice(later < 0 ? this.#due.length : later, 0, { atMs, run });
    });
  }

  async runUntil(isOver: () => boolean): Promise<void> {
    for (;;) {
      // Promises and immediates that follow from the last event.
      for (let turn = 0; turn < 3; turn++) await new Promise(setImmediate);
      if (isOver()) return;
      const event = this.#due.shift()!;
      this.nowMs = event.atMs;
      event.run();
    }
  }
}

/** Adds up a counter that starts again at nought whenever what it counts is made anew (a link, a connection). */
export class Tally {
  #total = 0;
  #last = 0;

  get total(): number {
    return this.#total;
  }

  /** Returns what has come since the last reading. */
  read(value: number): number {
    const added = value >= this.#last ? value - this.#last : value;
    this.#last = value;
    this.#total += added;
    return added;
  }

  /** The counter is known to start again, even if its next reading should be higher than the last. */
  restart(): void {
    this.#last = 0;
  }
}

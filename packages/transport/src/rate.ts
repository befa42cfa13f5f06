/** Lets a burst pass, and as many more as time brings. */
export class Rate {
  readonly #burst: number;
  readonly #perMs: number;
  #left: number;
  #atMs: number;

  constructor(burst: number, perMs: number, nowMs: number) {
    this.#burst = burst;
    this.#perMs = perMs;
    this.#left = burst;
    this.#atMs = nowMs;
  }

  /** Counts one. False if it was one too many. */
  take(nowMs: number): boolean {
    this.#left = Math.min(this.#burst, this.#left + (nowMs - this.#atMs) * this.#perMs) - 1;
    this.#atMs = nowMs;
    return this.#left >= 0;
  }
}

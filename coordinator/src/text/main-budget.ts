/** Bytes of texts that are tokenized on the main thread at a time: at most 16 ms, and usually 2 ms. */
const BURST_BYTES = 4_096;
/** And each second: at most 64 ms, and usually 8 ms. */
const BYTES_PER_S = 16_384;

/** What the main thread may tokenize, whoever sends it. A single text is bounded by its size, and this bounds many of them. */
export class MainBudget {
  readonly #clock: () => number;
  #bytes = BURST_BYTES;
  #atMs: number;

  constructor(clock: () => number = () => performance.now()) {
    this.#clock = clock;
    this.#atMs = clock();
  }

  /** Whether there is enough for a text, which is then spent. */
  take(bytes: number): boolean {
    const nowMs = this.#clock();
    this.#bytes = Math.min(BURST_BYTES, this.#bytes + ((nowMs - this.#atMs) * BYTES_PER_S) / 1_000);
    this.#atMs = nowMs;
    if (bytes > this.#bytes) return false;
    this.#bytes -= bytes;
    return true;
  }
}

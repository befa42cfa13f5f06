/** Long enough to smooth over one slow shard, short enough to notice that the line changed. */
const WINDOW_MS = 5_000;
/** A rate from less time than this is noise. */
const MIN_SPAN_MS = 250;

/** Bytes a second over the last few seconds. */
export class TransferRate {
  readonly #nowMs: () => number;
  /** Totals at moments, oldest first; one a millisecond at most, and none older than the window. */
  #samples: { atMs: number; totalBytes: number }[] = [];
  #totalBytes = 0;

  constructor(nowMs: () => number) {
    this.#nowMs = nowMs;
  }

  add(bytes: number): void {
    this.#totalBytes += bytes;
    const atMs = Math.floor(this.#nowMs());
    if (this.#samples.at(-1)?.atMs === atMs) this.#samples.pop();
    this.#samples.push({ atMs, totalBytes: this.#totalBytes });
    this.#forget(atMs);
  }

  /** Undefined until there is enough to tell. */
  bytesPerSecond(): number | undefined {
    const nowMs = this.#nowMs();
    this.#forget(nowMs);
    const first = this.#samples[0];
    if (!first || nowMs - first.atMs < MIN_SPAN_MS) return undefined;
    return ((this.#totalBytes - first.totalBytes) / (nowMs - first.atMs)) * 1000;
  }

  #forget(nowMs: number): void {
    while (this.#samples.length > 1 && nowMs - this.#samples[0]!.atMs > WINDOW_MS) this.#samples.shift();
  }
}

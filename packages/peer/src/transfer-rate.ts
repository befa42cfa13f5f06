/** Long enough to smooth over one slow shard, short enough to follow changes of the line. */
const WINDOW_MS = 5_000;
/** Over a shorter time, the rate is noise. */
const MIN_SPAN_MS = 250;

/** Bytes per second over the last few seconds. */
export class TransferRate {
  readonly #nowMs: () => number;
  /** Totals over time, oldest first; at most one per millisecond, none older than the window. */
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

  /** Undefined until there is enough data. */
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

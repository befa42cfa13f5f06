/** A bounded window of the most recent samples, and their quantiles. */
export class SampleWindow {
  readonly #samples: Float64Array;
  #count = 0;
  /** The window's samples, ascending; computed on demand. */
  #sorted: Float64Array | undefined;

  constructor(size: number) {
    this.#samples = new Float64Array(size);
  }

  add(sample: number): void {
    this.#samples[this.#count % this.#samples.length] = sample;
    this.#count++;
    this.#sorted = undefined;
  }

  clear(): void {
    this.#count = 0;
    this.#sorted = undefined;
  }

  get length(): number {
    return Math.min(this.#count, this.#samples.length);
  }

  /** The q-quantile (nearest rank), or null of no samples. */
  quantile(q: number): number | null {
    const n = this.length;
    if (n === 0) return null;
    this.#sorted ??= this.#samples.slice(0, n).sort();
    return this.#sorted[Math.max(0, Math.ceil(q * n) - 1)]!;
  }
}

/** The median of each of the last `seconds` seconds. */
export class SecondMedians {
  readonly #seconds: number;
  readonly #samples = new Map<number, number[]>();

  constructor(seconds: number) {
    this.#seconds = seconds;
  }

  add(nowMs: number, sample: number): void {
    const second = Math.floor(nowMs / 1000);
    const samples = this.#samples.get(second);
    if (samples) return void samples.push(sample);
    this.#samples.set(second, [sample]);
    if (this.#samples.size > this.#seconds) this.#samples.delete(this.#samples.keys().next().value!);
  }

  /** [seconds], the last one that of `nowMs`; null for seconds without samples. */
  until(nowMs: number): (number | null)[] {
    const first = Math.floor(nowMs / 1000) - this.#seconds + 1;
    return Array.from({ length: this.#seconds }, (_, i) => {
      const samples = this.#samples.get(first + i);
      return samples === undefined ? null : samples.sort((a, b) => a - b)[samples.length >> 1]!;
    });
  }
}

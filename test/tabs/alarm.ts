import { Worker } from 'node:worker_threads';

interface Entry {
  dueMs: number;
  run: () => void;
}

/**
 * Runs callbacks on time to about 0.1 ms, where setTimeout counts whole milliseconds and rounds up: a thread sleeps in
 * Atomics.wait and then sends a message.
 */
export class Alarm {
  readonly #shared = new SharedArrayBuffer(16);
  readonly #dueNs = new BigInt64Array(this.#shared, 0, 1);
  readonly #changes = new Int32Array(this.#shared, 8, 1);
  readonly #thread: Worker;
  /** Sorted by time, earliest first; entries with the same time in the order of the calls. */
  readonly #entries: Entry[] = [];

  constructor() {
    this.#thread = new Worker(new URL('./alarm-thread.mjs', import.meta.url), {
      workerData: this.#shared,
      execArgv: [],
    });
    this.#thread.unref();
    this.#thread.on('message', () => this.#ring());
  }

  /** Runs `run` at `dueMs`, as given by performance.now(). */
  at(dueMs: number, run: () => void): void {
    let i = this.#entries.length;
    while (i > 0 && this.#entries[i - 1]!.dueMs > dueMs) i--;
    this.#entries.splice(i, 0, { dueMs, run });
    if (i === 0) this.#set();
  }

  async close(): Promise<void> {
    this.#entries.length = 0;
    await this.#thread.terminate();
  }

  #ring(): void {
    const nowMs = performance.now();
    while (this.#entries.length > 0 && this.#entries[0]!.dueMs <= nowMs) this.#entries.shift()!.run();
    this.#set();
  }

  #set(): void {
    const next = this.#entries[0];
    // Threads share hrtime, but not performance.now().
    const leftNs = next && BigInt(Math.round(Math.max(0, next.dueMs - performance.now()) * 1e6));
    Atomics.store(this.#dueNs, 0, leftNs === undefined ? 0n : process.hrtime.bigint() + leftNs);
    Atomics.add(this.#changes, 0, 1);
    Atomics.notify(this.#changes, 0);
  }
}

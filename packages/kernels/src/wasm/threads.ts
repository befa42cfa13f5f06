import type { ShardMemory } from './memory.ts';

/** A thread that helps with laps. */
export interface WasmThread {
  terminate(): void;
}

/** Starts a thread that instantiates the module on the shared memory and calls `serveLaps(control, thread)`. */
export type StartThread = (start: {
  module: WebAssembly.Module;
  memory: WebAssembly.Memory;
  control: number;
  thread: number;
}) => WasmThread;

/** What such a thread runs, in plain JavaScript, so that neither bundler nor loader has a part in it. */
export const THREAD_BODY = `({ module, memory, control, thread }) =>
  new WebAssembly.Instance(module, { env: { memory } }).exports.serveLaps(control, thread)`;

/** A page's own thread must not sleep; workers and Node may. */
const MAY_SLEEP = typeof window === 'undefined';

/** Lap sizes are told apart by powers of two of their (row, expert) pairs. */
const MAX_SIZES = 20;
/** Each way is timed so often before the faster one is believed in. */
const TRIALS = 3;
/** Among so many laps, one goes the other way, since the machine's load changes. */
const RETRY_EVERY = 64;

/** Several threads on one lap, where that has been seen to be faster than one. */
export class ThreadTeam {
  readonly #memory: ShardMemory;
  readonly #control: number;
  readonly #threads: WasmThread[];
  readonly #alone = new Float64Array(MAX_SIZES);
  readonly #together = new Float64Array(MAX_SIZES);
  readonly #laps = new Uint32Array(MAX_SIZES);

  constructor(memory: ShardMemory, module: WebAssembly.Module, threads: number, start: StartThread) {
    this.#memory = memory;
    this.#control = memory.region(memory.exports.CONTROL_BYTES.value as number);
    this.#threads = Array.from({ length: threads - 1 }, (_, i) =>
      start({ module, memory: memory.memory, control: this.#control, thread: i + 1 }),
    );
  }

  run(lap: number, numAssignments: number): void {
    const size = Math.min(MAX_SIZES - 1, Math.floor(Math.log2(numAssignments + 1)));
    const together = this.#choose(size);
    const startedMs = performance.now();
    if (together) this.#memory.exports.runLapTogether(lap, this.#control, MAY_SLEEP);
    else this.#memory.exports.runLap(lap);
    const tookMs = performance.now() - startedMs;
    const known = together ? this.#together : this.#alone;
    known[size] = known[size] === 0 ? tookMs : known[size]! + (tookMs - known[size]!) / 8;
  }

  stop(): void {
    this.#memory.exports.stopThreads(this.#control);
    for (const thread of this.#threads) thread.terminate();
  }

  #choose(size: number): boolean {
    const lap = this.#laps[size]!++;
    if (lap < 2 * TRIALS) return lap % 2 === 0;
    const faster = this.#together[size]! < this.#alone[size]!;
    return lap % RETRY_EVERY === 0 ? !faster : faster;
  }
}

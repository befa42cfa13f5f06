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

/** The code of such a thread, in plain JavaScript that needs neither bundler nor loader. */
export const THREAD_BODY = `({ module, memory, control, thread }) =>
  new WebAssembly.Instance(module, { env: { memory } }).exports.serveLaps(control, thread)`;

/** A page's own thread must not sleep; workers and Node may. */
const MAY_SLEEP = typeof window === 'undefined';

/** Lap sizes are classed by powers of two of their number of assignments. */
const MAX_SIZES = 20;
/** Timings of either way before the faster one is used. */
const TRIALS = 3;
/** One lap in this many is computed the slower way, since the machine's load changes. */
const RETRY_EVERY = 64;

/** Computes laps on several threads or on one, whichever was measured to be faster for a lap's size. */
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

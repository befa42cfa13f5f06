import { Worker } from 'node:worker_threads';
import type { Job, Runner, RunTimes } from '../runner.ts';
import { FasterWay } from './faster-way.ts';

/** Indices of the words shared with ./thread.mjs, which receives this table. */
const WORD = {
  /** Threads that run the job: all, or the first alone. */
  ACTIVE: 0,
  LEFT: 1,
  DONE: 2,
  BANK: 3,
  PROGRAM: 4,
  CONTROL: 5,
  SCRATCH: 6,
  SCRATCH_BYTES: 7,
  SPINS: 8,
  /** The first thread's number of its latest job; the others' follow, each in a cache line of its own. */
  JOBS: 16,
  JOB_STRIDE: 16,
} as const;
const { ACTIVE, LEFT, DONE, BANK, PROGRAM, CONTROL, SCRATCH, SCRATCH_BYTES, SPINS, JOBS, JOB_STRIDE } = WORD;

/** Polls before a thread sleeps between jobs. */
const IDLE_SPINS = 2000;
/** Far above the time that a thread takes to make its instances. */
const START_TIMEOUT_MS = 30_000;

/** Missing in TypeScript's ES2023; Node has it since version 16. */
type WaitAsync = (
  words: Int32Array,
  index: number,
  value: number,
) => { async: false; value: string } | { async: true; value: Promise<string> };
const { waitAsync } = Atomics as unknown as { waitAsync: WaitAsync };

/** Starts threads that run programs together on shared memories. Throws if one cannot be started. */
export async function startThreads(
  module: WebAssembly.Module,
  memories: readonly WebAssembly.Memory[],
  threads: number,
): Promise<Runner> {
  const runner = new Threads(module, memories, threads);
  try {
    await runner.started;
  } catch (error) {
    await runner.close();
    throw error;
  }
  return runner;
}

class Threads implements Runner {
  readonly threads: number;
  readonly started: Promise<void>;
  readonly #words: Int32Array;
  /** By work. */
  readonly #ways = new Map<string, FasterWay>();
  readonly #workers: Worker[];
  /** Banks of all engines. */
  #numBanks: number;
  #job = 0;
  #turn: Promise<unknown> = Promise.resolve();
  #failure: Error | undefined;
  #fail: ((error: Error) => void) | undefined;
  #closing = false;

  constructor(module: WebAssembly.Module, memories: readonly WebAssembly.Memory[], threads: number) {
    this.threads = threads;
    this.#numBanks = memories.length;
    const words = JOBS + threads * JOB_STRIDE;
    this.#words = new Int32Array(new SharedArrayBuffer(words * Int32Array.BYTES_PER_ELEMENT));
    this.#words[SPINS] = IDLE_SPINS;
    this.#workers = Array.from({ length: threads }, (_, thread) => {
      const workerData = { module, memories, signals: this.#words.buffer, thread, WORD };
      // Without the parent's flags, such as tsx's loader: the thread is plain JavaScript.
      return new Worker(new URL('./thread.mjs', import.meta.url), { workerData, execArgv: [] });
    });
    for (const worker of this.#workers) {
      worker.on('error', (error) => this.#broken(error));
      worker.on('exit', (code) => this.#broken(new Error(`it ended with code ${code}`)));
    }
    this.started = this.#awaitReady();
  }

  run(job: Job): Promise<RunTimes> {
    const result = this.#turn.then(() => this.#post(job));
    this.#turn = result.catch(() => {});
    return result;
  }

  beside(memories: readonly WebAssembly.Memory[]): Runner {
    const first = this.#numBanks;
    this.#numBanks += memories.length;
    // A thread takes them from its port when a job is on one of them.
    for (const worker of this.#workers) worker.postMessage(memories);
    return {
      threads: this.threads,
      run: (job) => this.run({ ...job, bank: first + job.bank, work: `${first} ${job.work}` }),
      beside: (others) => this.beside(others),
      close: async () => {},
    };
  }

  async close(): Promise<void> {
    this.#closing = true;
    await Promise.all(this.#workers.map((worker) => worker.terminate()));
    this.#broken(new Error('it was closed'));
  }

  #awaitReady(): Promise<void> {
    return new Promise((resolve, reject) => {
      let waiting = this.#workers.length;
      const timer = setTimeout(
        () => reject(new Error(`the dense engine's threads did not start within ${START_TIMEOUT_MS / 1000} s`)),
        START_TIMEOUT_MS,
      );
      this.#fail = (error) => {
        clearTimeout(timer);
        reject(error);
      };
      for (const worker of this.#workers) {
        worker.once('message', () => {
          // An idle engine does not keep the process alive; a running job does (see #post).
          worker.unref();
          if (--waiting > 0) return;
          clearTimeout(timer);
          resolve();
        });
      }
    });
  }

  /** Hands a job to all threads, or to the first where that has been faster. Resolves when the last one has done its share. */
  async #post(job: Job): Promise<RunTimes> {
    if (this.#failure) throw this.#failure;
    const way = this.#wayOf(job.work);
    const together = this.threads > 1 && way.choose();
    const active = together ? this.threads : 1;
    const startedMs = performance.now();
    const words = this.#words;
    const id = (this.#job = (this.#job + 1) | 0);
    words[BANK] = job.bank;
    words[PROGRAM] = job.program;
    words[CONTROL] = job.control;
    words[SCRATCH] = job.scratch;
    words[SCRATCH_BYTES] = job.scratchBytes;
    words[ACTIVE] = active;
    Atomics.store(words, LEFT, active);
    for (let thread = 0; thread < active; thread++) {
      const at = JOBS + thread * JOB_STRIDE;
      Atomics.store(words, at, id);
      Atomics.notify(words, at);
    }
    this.#workers[0]!.ref();
    try {
      await new Promise<void>((resolve, reject) => {
        this.#fail = reject;
        const wait = (): void => {
          const done = Atomics.load(words, DONE);
          if (done === id) return resolve();
          const waiting = waitAsync(words, DONE, done);
          if (waiting.async) void waiting.value.then(wait);
          else wait();
        };
        wait();
      });
    } finally {
      this.#workers[0]!.unref();
    }
    const endedMs = performance.now();
    way.add(together, endedMs - startedMs);
    return { startedMs, endedMs };
  }

  #wayOf(work: string): FasterWay {
    let way = this.#ways.get(work);
    if (!way) this.#ways.set(work, (way = new FasterWay()));
    return way;
  }

  /** Fails all jobs after a thread has ended, for which the others would wait forever. */
  #broken(cause: Error): void {
    if (!this.#failure) {
      const died = `a thread of the dense engine has died: ${cause.message}`;
      this.#failure = new Error(this.#closing ? 'the dense engine was closed' : died, { cause });
      if (!this.#closing) for (const worker of this.#workers) void worker.terminate();
    }
    this.#fail?.(this.#failure);
  }
}

/** A program and the memory that its threads use; addresses in a bank. */
export interface Job {
  bank: number;
  program: number;
  control: number;
  /** The first thread's scratch; the others' follow. */
  scratch: number;
  scratchBytes: number;
  /** Names work that takes about as long every time. */
  work: string;
}

/** When a program ran, on the clock of `performance.now()`, in milliseconds. */
export interface RunTimes {
  startedMs: number;
  endedMs: number;
}

/** Runs programs on the banks of one dense engine, on threads or on the calling thread. */
export interface Runner {
  readonly threads: number;
  /** Runs one job at a time, in the order of the calls. Rejects if a thread has died, as do all later calls. */
  run(job: Job): Promise<RunTimes>;
  /** A runner on the same threads for the banks of another engine, which takes turns with this one and ends with it. */
  beside(memories: readonly WebAssembly.Memory[]): Runner;
  close(): Promise<void>;
}

interface EngineExports {
  runProgram(program: number, control: number, threads: number, scratch: number): void;
}

/** Runs programs on the calling thread, before `run` returns, where there is no SharedArrayBuffer. */
export function createInlineRunner(module: WebAssembly.Module, memories: readonly WebAssembly.Memory[]): Runner {
  const instances = memories.map(
    (memory) => new WebAssembly.Instance(module, { env: { memory } }).exports as unknown as EngineExports,
  );
  return {
    threads: 1,
    run: async ({ bank, program, control, scratch }) => {
      const startedMs = performance.now();
      instances[bank]!.runProgram(program, control, 1, scratch);
      return { startedMs, endedMs: performance.now() };
    },
    beside: (others) => createInlineRunner(module, others),
    close: async () => {},
  };
}

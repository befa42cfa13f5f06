// One thread of the dense engine: waits for a job, runs its share of the program, tells when it was the last.
// Plain JavaScript, so that it runs under tsx and under plain Node alike; ./threads.ts starts it and owns the words below.
import { parentPort, workerData } from 'node:worker_threads';

const { module, memories, signals, thread, threads } = workerData;
const JOB = 0;
const LEFT = 1;
const DONE = 2;
const BANK = 3;
const PROGRAM = 4;
const CONTROL = 5;
const SCRATCH = 6;
const SCRATCH_BYTES = 7;
const SPINS = 8;

const words = new Int32Array(signals);
const instances = memories.map((memory) => new WebAssembly.Instance(module, { env: { memory } }).exports);
let seen = 0;
parentPort.postMessage('ready');
for (;;) {
  for (let i = words[SPINS]; i > 0 && Atomics.load(words, JOB) === seen; i--);
  while (Atomics.load(words, JOB) === seen) Atomics.wait(words, JOB, seen);
  seen = Atomics.load(words, JOB);
  const scratch = (words[SCRATCH] >>> 0) + thread * words[SCRATCH_BYTES];
  instances[words[BANK]].runProgram(words[PROGRAM], words[CONTROL], threads, scratch);
  if (Atomics.sub(words, LEFT, 1) === 1) {
    Atomics.store(words, DONE, seen);
    Atomics.notify(words, DONE);
  }
}

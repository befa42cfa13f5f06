// One thread of the dense engine: waits for a job, runs its share of the program, and notifies the caller if it was the last.
// Plain JavaScript, so that it runs without tsx. ./threads.ts starts it and defines the shared words.
import { parentPort, receiveMessageOnPort, workerData } from 'node:worker_threads';

const { module, memories, signals, thread, WORD } = workerData;
const { ACTIVE, LEFT, DONE, BANK, PROGRAM, CONTROL, SCRATCH, SCRATCH_BYTES, SPINS, JOBS, JOB_STRIDE } = WORD;
const JOB = JOBS + thread * JOB_STRIDE;

const words = new Int32Array(signals);
const instantiate = (memory) => new WebAssembly.Instance(module, { env: { memory } }).exports;
const instances = memories.map(instantiate);
let seen = 0;
parentPort.postMessage('ready');
for (;;) {
  for (let i = words[SPINS]; i > 0 && Atomics.load(words, JOB) === seen; i--);
  while (Atomics.load(words, JOB) === seen) Atomics.wait(words, JOB, seen);
  seen = Atomics.load(words, JOB);
  const scratch = (words[SCRATCH] >>> 0) + thread * words[SCRATCH_BYTES];
  // The memories of an engine that was opened later were sent before its first job.
  while (words[BANK] >= instances.length) instances.push(...receiveMessageOnPort(parentPort).message.map(instantiate));
  instances[words[BANK]].runProgram(words[PROGRAM], words[CONTROL], words[ACTIVE], scratch);
  if (Atomics.sub(words, LEFT, 1) === 1) {
    Atomics.store(words, DONE, seen);
    Atomics.notify(words, DONE);
  }
}

import { Worker } from 'node:worker_threads';
import { compileWasm, runnableVariants } from '@shoal/kernels/node';
import { median } from './table.ts';

const BYTES = 256 * 2 ** 20;
const PASSES = 4;

const THREAD = `
  const { parentPort, workerData: { module, bytes, passes } } = require('node:worker_threads');
  const memory = new WebAssembly.Memory({ initial: 1 + bytes / 65536, maximum: 65536 });
  const { exports } = new WebAssembly.Instance(module, { env: { memory } });
  // Pages that were never written all share one physical page.
  new Uint8Array(memory.buffer).fill(1);
  exports.readBytes(0, bytes);
  parentPort.on('message', () => {
    const startedMs = performance.now();
    for (let i = 0; i < passes; i++) exports.readBytes(0, bytes);
    parentPort.postMessage((passes * bytes) / 1e6 / (performance.now() - startedMs));
  });
  parentPort.postMessage(0);`;

/** Speed of a plain WebAssembly read loop on `threads` threads with separate memories: total GB/s, median of runs. */
export async function readLoopGBps(threads: number, repeats: number): Promise<number> {
  const module = await compileWasm(runnableVariants().find((variant) => !variant.threads)!);
  const workerData = { module, bytes: BYTES, passes: PASSES };
  const workers = Array.from({ length: threads }, () => new Worker(THREAD, { eval: true, workerData }));
  const next = (worker: Worker): Promise<number> => new Promise((resolve) => worker.once('message', resolve));
  await Promise.all(workers.map(next));
  const sums: number[] = [];
  for (let run = 0; run < repeats; run++) {
    const rates = workers.map(next);
    for (const worker of workers) worker.postMessage('go');
    sums.push((await Promise.all(rates)).reduce((a, b) => a + b, 0));
  }
  await Promise.all(workers.map((worker) => worker.terminate()));
  return median(sums);
}

import { parentPort, workerData } from 'node:worker_threads';

/** Words shared with ./alarm.ts: the time to ring at (process.hrtime in ns; 0: none), and a count of its changes. */
const dueNs = new BigInt64Array(workerData, 0, 1);
const changes = new Int32Array(workerData, 8, 1);

for (;;) {
  const seen = Atomics.load(changes, 0);
  const due = Atomics.load(dueNs, 0);
  if (due === 0n) {
    Atomics.wait(changes, 0, seen);
    continue;
  }
  const leftMs = Number(due - process.hrtime.bigint()) / 1e6;
  if (leftMs > 0 && Atomics.wait(changes, 0, seen, leftMs) !== 'timed-out') continue;
  Atomics.compareExchange(dueNs, 0, due, 0n);
  parentPort.postMessage(null);
}

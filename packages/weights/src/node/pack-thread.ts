import { parentPort, workerData } from 'node:worker_threads';
import type { PackJob } from './jobs.ts';
import { Packer, type PackTask } from './pack-job.ts';
import type { Reply } from './pack-pool.ts';
import { openPlace } from './source/open-place.ts';

/** A thread of the packer: does the jobs that come for its slots (see pack-pool.ts). */
const { task } = workerData as { task: PackTask };
const port = parentPort!;
const opening = openPlace(task.place);
// An error is reported by the first job that awaits it.
opening.catch(() => {});
const packers = new Map<number, Packer>();

async function run(slot: number, job: PackJob): Promise<Reply> {
  try {
    const packer = packers.get(slot) ?? new Packer(task, await opening);
    packers.set(slot, packer);
    return { slot, result: await packer.run(job) };
  } catch (error) {
    const { name, message, reason } = error as Error & { reason?: string };
    return { slot, failure: { name, message, ...(reason !== undefined && { reason }) } };
  }
}

port.on('message', ({ slot, job }: { slot: number; job: PackJob }) => {
  void run(slot, job).then((reply) => port.postMessage(reply));
});

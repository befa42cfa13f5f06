import { parentPort, workerData } from 'node:worker_threads';
import { openCheckpoint } from '@shoal/model/node';
import { PackSlot, type PackJob, type PackTask } from './pack-job.ts';
import type { Reply } from './pack-pool.ts';

/** A thread of the packer: does the jobs that come for its slots (see pack-pool.ts). */
const { task, slots } = workerData as { task: PackTask; slots: number };
const port = parentPort!;
const opening = openCheckpoint(task.modelDir);
// Said by the first job that waits for it.
opening.catch(() => {});
const slotOf: (PackSlot | undefined)[] = Array.from({ length: slots });

async function run(slot: number, job: PackJob): Promise<Reply> {
  try {
    const checkpoint = await opening;
    const result = await (slotOf[slot] ??= new PackSlot(task, checkpoint)).run(job);
    return { slot, result };
  } catch (error) {
    const { name, message, reason } = error as Error & { reason?: string };
    return { slot, failure: { name, message, ...(reason !== undefined && { reason }) } };
  }
}

port.on('message', ({ slot, job }: { slot: number; job: PackJob }) => {
  void run(slot, job).then((reply) => port.postMessage(reply));
});

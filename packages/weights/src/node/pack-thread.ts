import { parentPort, workerData } from 'node:worker_threads';
import { openCheckpoint } from '@shoal/model/node';
import { PackLane, type PackJob, type PackTask } from './pack-job.ts';
import type { Reply } from './pack-pool.ts';

/** A thread of the packer: does the jobs that come for its lanes (see pack-pool.ts). */
const { task, lanes } = workerData as { task: PackTask; lanes: number };
const port = parentPort!;
const opening = openCheckpoint(task.modelDir);
// Said by the first job that waits for it.
opening.catch(() => {});
const laneOf: (PackLane | undefined)[] = Array.from({ length: lanes });

async function run(lane: number, job: PackJob): Promise<Reply> {
  try {
    const checkpoint = await opening;
    const result = await (laneOf[lane] ??= new PackLane(task, checkpoint)).run(job);
    return { lane, result };
  } catch (error) {
    const { name, message, reason } = error as Error & { reason?: string };
    return { lane, failure: { name, message, ...(reason !== undefined && { reason }) } };
  }
}

port.on('message', ({ lane, job }: { lane: number; job: PackJob }) => {
  void run(lane, job).then((reply) => port.postMessage(reply));
});

import { availableParallelism } from 'node:os';
import type { Worker } from 'node:worker_threads';
import { type Checkpoint } from '@shoal/model/node';
import { WeightsError, type WeightsErrorReason } from '../errors.ts';
import { type ExpertShape, shardBytes } from '../layout.ts';
import type { PackJob } from './jobs.ts';
import { type JobResult, Packer, type PackTask } from './pack-job.ts';
import { startTypescriptThread } from './typescript-thread.ts';

/** Does jobs on the calling thread or on its own threads. */
export interface PackPool {
  /** Number of jobs that may run at a time. */
  readonly slots: number;
  run(job: PackJob): Promise<JobResult>;
  close(): Promise<void>;
}

/** Measured memory of a thread with the packer's modules loaded, without its packers. */
const THREAD_BYTES = 56 * 2 ** 20;
/** Memory of a packer without its shard: tiles of experts, or pieces of a dense tensor with their packed bytes. */
const PACKER_BYTES = 48 * 2 ** 20;
/** Limit of all threads together, below the 1 GiB that packing may add to a process. */
const POOL_BYTES = 896 * 2 ** 20;
const SLOTS_PER_THREAD = 2;
/** Packing less than this takes less time than starting a thread. */
const MIN_SOURCE_BYTES = 256 * 2 ** 20;

/** One thread per core, fewer if they would exceed the memory limit, none for small models. */
export function threadsFor(shape: ExpertShape, sourceBytes: number, cores = availableParallelism()): number {
  if (sourceBytes < MIN_SOURCE_BYTES) return 0;
  const each = THREAD_BYTES + SLOTS_PER_THREAD * (PACKER_BYTES + shardBytes(shape));
  return Math.max(1, Math.min(cores, Math.floor(POOL_BYTES / each)));
}

export function openPool(task: PackTask, checkpoint: Checkpoint, threads: number): PackPool {
  if (threads > 0) return new Threads(task, threads);
  const packer = new Packer(task, checkpoint);
  return { slots: 1, run: (job) => packer.run(job), close: async () => {} };
}

/** A thread's answer to a job. */
export type Reply =
  { slot: number; result: JobResult } | { slot: number; failure: { name: string; message: string; reason?: string } };

interface Waiting {
  resolve: (result: JobResult) => void;
  reject: (error: Error) => void;
}

class Threads implements PackPool {
  readonly slots: number;
  readonly #workers: Worker[];
  readonly #free: number[];
  readonly #waiting: (Waiting | undefined)[] = [];
  #dead: Error | undefined;

  constructor(task: PackTask, threads: number) {
    this.slots = threads * SLOTS_PER_THREAD;
    this.#free = Array.from({ length: this.slots }, (_, slot) => slot);
    this.#workers = Array.from({ length: threads }, () => {
      const worker = startTypescriptThread(new URL('./pack-thread.ts', import.meta.url), { task });
      worker.on('error', (error) => this.#broken(error));
      worker.on('exit', (code) => this.#broken(new Error(`it ended with code ${code}`)));
      return worker;
    });
    for (const [thread, worker] of this.#workers.entries()) {
      worker.on('message', (reply: Reply) => this.#settle(thread * SLOTS_PER_THREAD + reply.slot, reply));
    }
  }

  run(job: PackJob): Promise<JobResult> {
    const slot = this.#free.shift();
    if (this.#dead) return Promise.reject(this.#dead);
    if (slot === undefined) return Promise.reject(new RangeError(`more than ${this.slots} jobs at a time`));
    return new Promise((resolve, reject) => {
      this.#waiting[slot] = { resolve, reject };
      const worker = this.#workers[Math.floor(slot / SLOTS_PER_THREAD)]!;
      worker.postMessage({ slot: slot % SLOTS_PER_THREAD, job });
    });
  }

  async close(): Promise<void> {
    this.#dead = new Error('the packing threads were closed');
    await Promise.all(this.#workers.map((worker) => worker.terminate()));
  }

  #settle(slot: number, reply: Reply): void {
    const waiting = this.#waiting[slot];
    this.#waiting[slot] = undefined;
    // Slots are used in turn, so that each thread has one job before any has two.
    this.#free.push(slot);
    if ('result' in reply) waiting?.resolve(reply.result);
    else waiting?.reject(asError(reply.failure));
  }

  #broken(cause: Error): void {
    this.#dead ??= new Error(`a packing thread has died (${cause.message}); run again to resume`, { cause });
    for (const waiting of this.#waiting.splice(0)) waiting?.reject(this.#dead);
  }
}

function asError({ name, message, reason }: { name: string; message: string; reason?: string }): Error {
  if (name === 'WeightsError') return new WeightsError(reason as WeightsErrorReason, message);
  return Object.assign(new Error(message), { name, ...(reason !== undefined && { reason }) });
}

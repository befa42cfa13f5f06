import type { TensorSpec } from '@shoal/model';
import type { SafetensorsCheckpoint } from '@shoal/model/node';
import type { ScheduledJob } from '../jobs.ts';

/** A stored tensor's bytes in its file. */
export interface StoredBytes {
  file: string;
  offset: number;
  bytes: number;
}

/** What is done with one file: it is fetched, its jobs are done, what later jobs need of it is kept, and the rest is dropped. */
export interface StageStep {
  /** Undefined for the jobs that need nothing fetched. */
  file: string | undefined;
  jobs: ScheduledJob[];
  keep: StoredBytes[];
  /** What was kept of earlier files, and nothing needs any more. */
  drop: StoredBytes[];
}

export interface StageSchedule {
  steps: StageStep[];
  /** What an earlier run has kept, and these steps need. */
  held: StoredBytes[];
  /** Most bytes of fetched files at a time, besides those that lie here now and are needed. */
  roomBytes: number;
}

export interface StageInput {
  jobs: readonly ScheduledJob[];
  /** What a job reads. */
  needs: (job: ScheduledJob) => readonly StoredBytes[];
  /** Files that have to be fetched, with their sizes. The others are there, and stay. */
  fetched: ReadonlyMap<string, number>;
  /** What an earlier run has fetched of them, in bytes. */
  present: ReadonlyMap<string, number>;
  /** What an earlier run has kept. */
  kept: (tensor: StoredBytes) => boolean;
}

export const bytesOf = (tensors: readonly StoredBytes[]): number => tensors.reduce((sum, { bytes }) => sum + bytes, 0);

const keyOf = ({ file, offset }: StoredBytes): string => `${file} ${offset}`;

/**
 * Orders jobs by the files that they read, so that one fetched file at a time is enough. A job that reads two files, such as an
 * expert whose matrices they divide, waits for the later one; its tensors in the earlier one are kept by themselves.
 */
export function scheduleStage({ jobs, needs, fetched, present, kept }: StageInput): StageSchedule {
  // What is kept at the moment, and how many jobs still need each fetched tensor.
  const held = new Map<string, StoredBytes>();
  const users = new Map<string, number>();
  const wanted = new Map<ScheduledJob, readonly StoredBytes[]>();
  for (const job of jobs) {
    const tensors = needs(job).filter(({ file }) => fetched.has(file));
    wanted.set(job, tensors);
    for (const tensor of tensors) {
      users.set(keyOf(tensor), (users.get(keyOf(tensor)) ?? 0) + 1);
      if (kept(tensor)) held.set(keyOf(tensor), tensor);
    }
  }
  const missing = (tensor: StoredBytes): boolean => !held.has(keyOf(tensor));
  const names = new Set([...wanted.values()].flatMap((tensors) => tensors.filter(missing).map(({ file }) => file)));
  const files = [...names].sort();
  const byFile = new Map(files.map((file): [string, StoredBytes[]] => [file, []]));
  for (const tensor of [...wanted.values()].flat()) byFile.get(tensor.file)?.push(tensor);
  const order = new Map(files.map((file, index) => [file, index]));
  const steps: StageStep[] = [undefined, ...files].map((file) => ({ file, jobs: [], keep: [], drop: [] }));
  for (const [job, tensors] of wanted) {
    const last = tensors.filter(missing).reduce((latest, { file }) => Math.max(latest, order.get(file)! + 1), 0);
    steps[last]!.jobs.push(job);
  }
  const heldFirst = [...held.values()];
  let heldBytes = bytesOf(heldFirst);
  // Of the files of the steps that are still to come.
  let presentBytes = files.reduce((sum, file) => sum + (present.get(file) ?? 0), 0);
  const nowBytes = heldBytes + presentBytes;
  let peakBytes = nowBytes;
  for (const step of steps) {
    const { file } = step;
    for (const tensor of step.jobs.flatMap((job) => wanted.get(job)!))
      users.set(keyOf(tensor), users.get(keyOf(tensor))! - 1);
    const keep = new Map<string, StoredBytes>();
    for (const tensor of (file !== undefined && byFile.get(file)) || []) {
      if (users.get(keyOf(tensor))! > 0 && missing(tensor)) keep.set(keyOf(tensor), tensor);
    }
    step.keep = [...keep.values()];
    const keepBytes = bytesOf(step.keep);
    if (file !== undefined) presentBytes -= present.get(file) ?? 0;
    const fileBytes = file === undefined ? 0 : fetched.get(file)!;
    peakBytes = Math.max(peakBytes, heldBytes + keepBytes + fileBytes + presentBytes);
    for (const [key, tensor] of keep) held.set(key, tensor);
    heldBytes += keepBytes;
    for (const [key, tensor] of held) {
      if (users.get(key)! > 0) continue;
      step.drop.push(tensor);
      held.delete(key);
      heldBytes -= tensor.bytes;
    }
  }
  return { steps, held: heldFirst, roomBytes: peakBytes - nowBytes };
}

/** The stored tensors that reading some tensors takes, each once. */
export function storedBytesOf(checkpoint: SafetensorsCheckpoint, specs: readonly TensorSpec[]): StoredBytes[] {
  const found = new Map<string, StoredBytes>();
  for (const { file, info } of specs.flatMap((spec) => checkpoint.storedTensorsOf(spec))) {
    const stored = { file, offset: info.offset, bytes: info.bytes };
    found.set(keyOf(stored), stored);
  }
  return [...found.values()];
}

import { rm, open, rename } from 'node:fs/promises';
import { join } from 'node:path';
import { expertLayers, expertTensors, listTensorSpecs, type ModelConfig } from '@shoal/model';
import type { Checkpoint } from '@shoal/model/node';
import { DENSE_FILE, denseFile } from '../dense/header.ts';
import type { DenseEntry, DenseLayout } from '../dense/layout.ts';
import type { DenseFormat } from '../dense/panels.ts';
import { WeightsError } from '../errors.ts';
import { type ExpertShape, shardBytes } from '../layout.ts';
import { asWriteError, DENSE_PART_FILE, fileMatches, rangeMatches, SHARD_DIR } from './files.ts';
import { type ScheduledJob, sumOf } from './jobs.ts';
import type { Journal, JournalEntry } from './journal.ts';
import type { PackPool } from './pack-pool.ts';
import type { InputSchedule } from './source/model-source.ts';

export interface PackProgress {
  /** Bytes of the checkpoint finished, those of an earlier, interrupted run included. */
  doneBytes: number;
  totalBytes: number;
  /** Rate of this run; 0 until the first job is done. */
  bytesPerSecond: number;
  /** Seconds left at that rate; Infinity at rate 0. */
  etaS: number;
}

export interface PackSchedule {
  jobs: readonly ScheduledJob[];
  sourceBytes: number;
  shape: ExpertShape;
  layout: DenseLayout;
  header: Uint8Array;
}

/** Room for the manifest, the journal, the tokenizer and the lock. */
export const SPARE_BYTES = 64 * 1024 * 1024;

/** Plans the jobs of a run: dense tensors first, since they are the largest, then the experts in the order of layers. */
export function schedulePack(checkpoint: Checkpoint, shape: ExpertShape, format: DenseFormat): PackSchedule {
  const { config } = checkpoint;
  const { layout, header } = denseFile(config, format);
  const entries = layout.segments.flatMap((segment) => segment.entries);
  const jobs = [...entries.map((entry) => denseJob(checkpoint, entry)), ...expertJobs(checkpoint, config, shape)];
  return { jobs, sourceBytes: sumOf(jobs, 'sourceBytes'), shape, layout, header };
}

function denseJob(checkpoint: Checkpoint, entry: DenseEntry): ScheduledJob {
  const { tensor } = entry.source;
  const values = tensor.shape.reduce((product, size) => product * size, 1);
  // `kv_b_proj` has two entries, each with its own rows.
  const share = (entry.count * entry.rows * entry.cols) / values;
  const sourceBytes = Math.round(checkpoint.bytesOf(tensor) * share);
  return {
    key: `dense/${entry.name}`,
    job: { kind: 'dense', name: entry.name },
    specs: [tensor],
    sourceBytes,
    packedBytes: entry.bytes,
  };
}

function expertJobs(checkpoint: Checkpoint, config: ModelConfig, shape: ExpertShape): ScheduledJob[] {
  const packedBytes = shardBytes(shape);
  return expertLayers(config).flatMap((layer) =>
    Array.from({ length: config.nRoutedExperts }, (_, expert): ScheduledJob => {
      const specs = listTensorSpecs(expertTensors(config, layer, expert));
      const sourceBytes = specs.reduce((sum, spec) => sum + checkpoint.bytesOf(spec), 0);
      const job = { kind: 'expert', layer, expert } as const;
      return { key: expertKey(layer, expert), job, specs, sourceBytes, packedBytes };
    }),
  );
}

export const expertKey = (layer: number, expert: number): string => `${layer}/${expert}`;

/** Reserves the file of the dense tensors, with `keep` preserving an earlier run's. Throws WeightsError `disk-full` or `unwritable`. */
export async function openDensePart(outDir: string, { layout, header }: PackSchedule, keep: boolean): Promise<void> {
  const path = join(outDir, DENSE_PART_FILE);
  try {
    if (keep) await rename(join(outDir, DENSE_FILE), path).catch(ignoreMissing);
    else await rm(path, { force: true });
    await rm(join(outDir, DENSE_FILE), { force: true });
    // Creates the file, or only opens it, before it is opened for writing at any offset.
    await (await open(path, keep ? 'a+' : 'w+')).close();
    const file = await open(path, 'r+');
    try {
      await file.truncate(layout.totalBytes);
      await file.write(header, 0, header.byteLength, 0);
    } finally {
      await file.close();
    }
  } catch (error) {
    throw asWriteError(error, path);
  }
}

function ignoreMissing(error: NodeJS.ErrnoException): void {
  if (error.code !== 'ENOENT') throw error;
}

/** Syncs the complete file of the dense tensors and gives it its final name. */
export async function closeDensePart(outDir: string): Promise<void> {
  const path = join(outDir, DENSE_PART_FILE);
  try {
    const file = await open(path, 'r+');
    try {
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(path, join(outDir, DENSE_FILE));
  } catch (error) {
    throw asWriteError(error, path);
  }
}

export interface FinishedOptions {
  outDir: string;
  journal: Journal;
  /** Whether entries without measured errors count as unfinished. */
  measured: boolean;
  signal: AbortSignal | undefined;
}

/** The journal's jobs, by key, whose bytes are on the disk and match their hash. */
export async function finishedJobs(
  schedule: PackSchedule,
  options: FinishedOptions,
): Promise<Map<string, JournalEntry>> {
  const { outDir, journal, measured, signal } = options;
  const entries = new Map(
    schedule.layout.segments.flatMap((segment) => segment.entries.map((entry) => [entry.name, entry])),
  );
  const scheduled = new Map(schedule.jobs.map((job) => [job.key, job]));
  const finished = new Map<string, JournalEntry>();
  for (const entry of journal.finished) {
    throwIfAborted(signal, outDir);
    const job = scheduled.get(entry.job);
    if (!job || (measured && !entry.errors)) continue;
    const matches =
      job.job.kind === 'expert'
        ? await fileMatches(join(outDir, SHARD_DIR, entry.sha256), job.packedBytes, entry.sha256)
        : await rangeMatches(join(outDir, DENSE_PART_FILE), entries.get(job.job.name)!, entry.sha256);
    if (matches) finished.set(entry.job, entry);
  }
  return finished;
}

export interface RunOptions {
  outDir: string;
  /** What has to be done for the jobs that are left. */
  input: InputSchedule;
  /** Free bytes of the output's disk. */
  freeBytes: () => Promise<number>;
  pool: PackPool;
  journal: Journal;
  signal: AbortSignal | undefined;
  onProgress: ((progress: PackProgress) => void) | undefined;
}

/**
 * Does all jobs that are not in `finished`, and adds them, batch after batch as their input comes. After the first failure, the run
 * ends with the jobs in progress.
 */
export async function runJobs(
  schedule: PackSchedule,
  finished: Map<string, JournalEntry>,
  options: RunOptions,
): Promise<void> {
  const left = schedule.jobs.filter(({ key }) => !finished.has(key));
  const keptBytes = schedule.sourceBytes - sumOf(left, 'sourceBytes');
  const credit = progressMeter(schedule.sourceBytes, keptBytes, options.onProgress);
  let packedBytes = sumOf(left, 'packedBytes');
  const hasRoomFor = async (bytes: number): Promise<boolean> =>
    (await options.freeBytes()) >= bytes + packedBytes + SPARE_BYTES;
  for await (const { jobs, creditedBytes } of options.input.batches({ credit, hasRoomFor })) {
    const isCredited = creditedBytes !== 0;
    await runBatch(jobs, finished, options, isCredited ? () => {} : credit);
    if (isCredited) credit(sumOf(jobs, 'sourceBytes') - creditedBytes);
    packedBytes -= sumOf(jobs, 'packedBytes');
  }
}

async function runBatch(
  jobs: readonly ScheduledJob[],
  finished: Map<string, JournalEntry>,
  { outDir, pool, journal, signal }: RunOptions,
  credit: (bytes: number) => void,
): Promise<void> {
  let next = 0;
  const work = async (): Promise<void> => {
    while (next < jobs.length) {
      throwIfAborted(signal, outDir);
      const { key, job, sourceBytes } = jobs[next++]!;
      const result = await pool.run(job);
      const entry = { job: key, ...result };
      await journal.append(entry);
      finished.set(key, entry);
      credit(sourceBytes);
    }
  };
  const streams = Array.from({ length: pool.slots }, () =>
    work().catch((error: unknown) => {
      next = jobs.length; // Starts no further job.
      throw error;
    }),
  );
  const outcomes = await Promise.allSettled(streams);
  const failure = outcomes.find((outcome) => outcome.status === 'rejected');
  if (failure) throw failure.reason;
}

export function progressMeter(
  totalBytes: number,
  keptBytes: number,
  onProgress: RunOptions['onProgress'],
): (bytes: number) => void {
  const startedMs = performance.now();
  let doneBytes = keptBytes;
  const report = (): void => {
    const elapsedS = (performance.now() - startedMs) / 1000;
    const bytesPerSecond = doneBytes > keptBytes ? (doneBytes - keptBytes) / elapsedS : 0;
    const leftBytes = totalBytes - doneBytes;
    onProgress?.({ doneBytes, totalBytes, bytesPerSecond, etaS: leftBytes === 0 ? 0 : leftBytes / bytesPerSecond });
  };
  report();
  return (bytes) => {
    doneBytes += bytes;
    report();
  };
}

export function throwIfAborted(signal: AbortSignal | undefined, outDir: string): void {
  if (signal?.aborted) {
    throw new WeightsError('aborted', `packing into ${outDir} was interrupted; run again to resume`);
  }
}

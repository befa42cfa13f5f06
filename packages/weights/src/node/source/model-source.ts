import type { ModelConfig } from '@shoal/model';
import type { Checkpoint, ModelFile } from '@shoal/model/node';
import type { CheckpointPlace, ScheduledJob } from '../jobs.ts';

/** Where a model comes from: a directory, a GGUF file, or a repository of a hub. */
export interface ModelSource {
  /** Opens the same again with `openSource`, in any thread and on another day. Errors call the model so. */
  readonly spec: string;
  /** The model's name by default. */
  readonly modelId: string;
  /** Another name that people use for it, as ORG/NAME. */
  readonly alias: string | undefined;
  /** The directory that is the model, checkpoint or packed, which nothing may be packed into; undefined where it is none. */
  readonly dir: string | undefined;
  config(): Promise<ModelConfig>;
  /** Identifies the content without reading the weights. */
  fingerprint(): Promise<string>;
  /** The files that are copied with the packed weights: config, tokenizer, license (`isCopied`). */
  files(): Promise<ModelFile[]>;
  /** The directory with these files, and an index; undefined where there is none. */
  metaDir(): Promise<string | undefined>;
  /** The directory with these files and all weights, fetched first. Throws WeightsError `bad-model` where there is none. */
  weightsDir(): Promise<string>;
  /** Opens the weights to read all of them, after fetching what is not on this machine. */
  open(): Promise<Checkpoint>;
  /** Opens the weights to read few of them, whose bytes the caller checks. */
  openFew(): Promise<Checkpoint>;
  /** Opens the weights to pack them into a folder, whose disk holds what is fetched for it. */
  openForPacking(outDir: string): Promise<PackInput>;
}

/** A model's weights while they are packed. */
export interface PackInput {
  /** Its tensors can be read while a batch with their jobs is at work. */
  readonly checkpoint: Checkpoint;
  /** How a thread of the packer opens it. */
  readonly place: CheckpointPlace;
  /** What has to be done for these jobs. Removes what an earlier run has left and they don't need. */
  schedule(jobs: readonly ScheduledJob[]): Promise<InputSchedule>;
  close(): Promise<void>;
}

export interface InputSchedule {
  /** Most bytes that lie on the output's disk at a time, besides the packed model and what lies there now. */
  roomBytes: number;
  /**
   * All jobs, each when its tensors can be read; they can be until the next batch is asked for. `credit` is told of progress that
   * comes before the jobs do, in bytes of the checkpoint.
   */
  batches(options: BatchOptions): AsyncIterable<PackBatch>;
}

export interface BatchOptions {
  credit: (bytes: number) => void;
  /** Whether the disk has room for so many bytes more than is needed. */
  hasRoomFor: (bytes: number) => Promise<boolean>;
}

export interface PackBatch {
  jobs: readonly ScheduledJob[];
  /** Of the jobs' `sourceBytes`, what was told to `credit`. */
  creditedBytes: number;
}

/** The input of weights that are all there. */
export function wholeInput(spec: string, checkpoint: Checkpoint): PackInput {
  return {
    checkpoint,
    place: { spec, stageDir: undefined },
    schedule: async (jobs) => ({
      roomBytes: 0,
      async *batches() {
        yield { jobs, creditedBytes: 0 };
      },
    }),
    close: () => checkpoint.close(),
  };
}

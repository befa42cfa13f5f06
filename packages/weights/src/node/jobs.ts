import type { TensorSpec } from '@shoal/model';

/** A unit of packing: an expert's shard, or one tensor of the dense engine's weights. */
export type PackJob = { kind: 'expert'; layer: number; expert: number } | { kind: 'dense'; name: string };

/** A job with the sizes of its input and output. */
export interface ScheduledJob {
  key: string;
  job: PackJob;
  /** The tensors that it reads. */
  specs: readonly TensorSpec[];
  sourceBytes: number;
  packedBytes: number;
}

export const sumOf = (jobs: readonly ScheduledJob[], what: 'sourceBytes' | 'packedBytes'): number =>
  jobs.reduce((sum, job) => sum + job[what], 0);

/** How a thread of the packer opens the checkpoint. `stageDir` has files that are fetched one after another (hub/stage.ts). */
export interface CheckpointPlace {
  spec: string;
  stageDir: string | undefined;
}

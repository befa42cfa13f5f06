import type { ExpertOutput } from '@shoal/kernels';
import type { WorkItem } from '@shoal/model';
import type { LapBackend } from '@shoal/peer';
import type { VirtualClock } from './virtual-clock.ts';

export interface Gpu {
  /** (row, expert) pairs a second. */
  assignmentsPerSecond: number;
  /** Of every lap: submission and reading the result back. */
  lapOverheadMs: number;
}

/** A GPU that takes its time, one lap after another, and computes nothing: all sums are zeros. */
export class VirtualBackend implements LapBackend {
  readonly shape: LapBackend['shape'];
  readonly #clock: VirtualClock;
  readonly #gpu: Gpu;
  #freeAtMs = 0;

  constructor(clock: VirtualClock, gpu: Gpu, shape: LapBackend['shape']) {
    this.#clock = clock;
    this.#gpu = gpu;
    this.shape = shape;
  }

  async run({ numRows, experts }: WorkItem): Promise<ExpertOutput> {
    const submittedMs = this.#clock.now();
    const { assignmentsPerSecond, lapOverheadMs } = this.#gpu;
    this.#freeAtMs =
      Math.max(submittedMs, this.#freeAtMs) + lapOverheadMs + (1000 * experts.length) / assignmentsPerSecond;
    await this.#clock.sleep(this.#freeAtMs - submittedMs);
    return {
      partial: new Float32Array(numRows * this.shape.hiddenSize),
      computeUs: 1000 * (this.#clock.now() - submittedMs),
    };
  }
}

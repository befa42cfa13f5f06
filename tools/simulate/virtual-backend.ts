import type { ExpertOutput } from '@shoal/kernels';
import type { WorkItem } from '@shoal/model';
import type { LapBackend } from '@shoal/peer';
import type { VirtualClock } from './virtual-clock.ts';

export interface Gpu {
  assignmentsPerSecond: number;
  /** Fixed cost of a lap: submission and readback. */
  lapOverheadMs: number;
}

/** A GPU that spends virtual time on one lap after another and returns zeros. */
export class VirtualBackend implements LapBackend {
  readonly shape: LapBackend['shape'];
  readonly #clock: VirtualClock;
  readonly #gpu: Gpu;
  #freeAtMs = 0;
  /** Time that the GPU has worked, or will have when it has done what it was given. */
  busyMs = 0;

  constructor(clock: VirtualClock, gpu: Gpu, shape: LapBackend['shape']) {
    this.#clock = clock;
    this.#gpu = gpu;
    this.shape = shape;
  }

  async run({ numRows, experts }: WorkItem): Promise<ExpertOutput> {
    const submittedMs = this.#clock.now();
    const { assignmentsPerSecond, lapOverheadMs } = this.#gpu;
    const workMs = lapOverheadMs + (1000 * experts.length) / assignmentsPerSecond;
    this.busyMs += workMs;
    this.#freeAtMs = Math.max(submittedMs, this.#freeAtMs) + workMs;
    await this.#clock.sleep(this.#freeAtMs - submittedMs);
    return {
      partial: new Float32Array(numRows * this.shape.hiddenSize),
      computeUs: 1000 * (this.#clock.now() - submittedMs),
    };
  }
}

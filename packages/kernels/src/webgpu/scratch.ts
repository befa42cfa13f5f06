import type { KernelError } from '../backend.ts';
import type { FfnBuffers } from '../wgsl/expert-ffn/expert-ffn.ts';
import { allocate, type AllocationFailure, USAGE } from './allocate.ts';

/** Room for a few rows of any model, so that decoding never reallocates. */
const MIN_BUFFER_BYTES = 64 * 1024;

type ScratchName = keyof FfnBuffers;

export interface ScratchBuffers extends FfnBuffers {
  /** Changes whenever a buffer is replaced. */
  version: number;
}

/**
 * The intermediate buffers of a lap. One set serves all laps in flight, since the queue runs them one after another and
 * uploads keep their place in that order.
 */
export class Scratch {
  readonly #device: GPUDevice;
  #buffers: Partial<FfnBuffers> = {};
  /** The set that was handed out last, renewed when a buffer is replaced. */
  #taken: ScratchBuffers | undefined;
  #version = 0;
  /** Set until it is known whether the latest buffers exist. */
  #unsure: AllocationFailure | undefined;

  constructor(device: GPUDevice) {
    this.#device = device;
  }

  get allocatedBytes(): number {
    return Object.values(this.#buffers).reduce((sum, { size }) => sum + size, 0);
  }

  /** Buffers of at least these sizes. `failure` is undefined if all of them are known to exist. */
  take(needed: Record<ScratchName, number>): { buffers: ScratchBuffers; failure: AllocationFailure | undefined } {
    const failures: AllocationFailure[] = [];
    for (const [name, bytes] of Object.entries(needed) as [ScratchName, number][]) {
      const old = this.#buffers[name];
      if (old && old.size >= bytes) continue;
      // A buffer that a variant never reads must still be bound.
      const size = bytes === 0 ? 16 : Math.max(MIN_BUFFER_BYTES, 2 ** Math.ceil(Math.log2(bytes)));
      const usage = USAGE.STORAGE | USAGE.COPY_SRC | USAGE.COPY_DST;
      const { buffer, failure } = allocate(this.#device, { label: `scratch for ${name}`, size, usage });
      old?.destroy();
      this.#buffers[name] = buffer;
      this.#version++;
      failures.push(failure.then((error) => this.#forget(name, buffer, error)));
    }
    if (failures.length > 0) this.#await(failures);
    if (this.#taken?.version !== this.#version)
      this.#taken = { ...(this.#buffers as FfnBuffers), version: this.#version };
    return { buffers: this.#taken, failure: this.#unsure };
  }

  destroy(): void {
    for (const buffer of Object.values(this.#buffers)) buffer.destroy();
    this.#buffers = {};
  }

  /** Keeps the outcome for later laps that use the same buffers. */
  #await(failures: readonly AllocationFailure[]): void {
    const all = Promise.all([this.#unsure, ...failures]).then((errors) => errors.find((error) => error !== undefined));
    this.#unsure = all;
    void all.then(() => {
      if (this.#unsure === all) this.#unsure = undefined;
    });
  }

  #forget(name: ScratchName, buffer: GPUBuffer, error: KernelError | undefined): KernelError | undefined {
    if (error && this.#buffers[name] === buffer) delete this.#buffers[name];
    return error;
  }
}

import type { KernelError } from '../backend.ts';
import type { FfnBuffers } from '../wgsl/expert-ffn/expert-ffn.ts';
import { allocate, USAGE } from './allocate.ts';

/** Room for a few rows of any model from the start, so that decoding never reallocates. */
const MIN_BUFFER_BYTES = 64 * 1024;

type ScratchName = keyof FfnBuffers;
const NAMES: readonly ScratchName[] = [
  'rows',
  'rowPlanes',
  'items',
  'activations',
  'activationPlanes',
  'products',
  'partial',
];

export interface ScratchBuffers extends FfnBuffers {
  /** Changes whenever a buffer is replaced. */
  version: number;
}

/**
 * The intermediate buffers of a lap. One set serves all laps in flight: the queue runs them one after another, and uploads
 * to them keep their place in that order.
 */
export class Scratch {
  readonly #device: GPUDevice;
  #buffers: Partial<FfnBuffers> = {};
  /** As they were handed out last; made again when one is replaced. */
  #taken: ScratchBuffers | undefined;
  #version = 0;
  /** Whether those that were made last exist is not known yet. */
  #unsure: Promise<KernelError | undefined> | undefined;

  constructor(device: GPUDevice) {
    this.#device = device;
  }

  get allocatedBytes(): number {
    return NAMES.reduce((sum, name) => sum + (this.#buffers[name]?.size ?? 0), 0);
  }

  /** Buffers of at least these sizes; `failure` as in `allocate`, undefined when all of them are known to be good. */
  take(needed: Record<ScratchName, number>): {
    buffers: ScratchBuffers;
    failure: Promise<KernelError | undefined> | undefined;
  } {
    const failures: Promise<KernelError | undefined>[] = [];
    for (const name of NAMES) {
      const old = this.#buffers[name];
      if (old && old.size >= needed[name]) continue;
      // What a variant never reads must still be bound.
      const size = needed[name] === 0 ? 16 : Math.max(MIN_BUFFER_BYTES, 2 ** Math.ceil(Math.log2(needed[name])));
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
    for (const name of NAMES) this.#buffers[name]?.destroy();
    this.#buffers = {};
  }

  /** Laps that follow at once use the same buffers, and have to know as well. */
  #await(failures: readonly Promise<KernelError | undefined>[]): void {
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

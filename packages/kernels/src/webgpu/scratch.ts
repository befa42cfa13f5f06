import type { KernelError } from '../backend.ts';
import { ExpertFfn, type FfnSize } from '../wgsl/expert-ffn/expert-ffn.ts';
import { allocate, USAGE } from './allocate.ts';

const F32_BYTES = Float32Array.BYTES_PER_ELEMENT;
const F16_BYTES = Uint16Array.BYTES_PER_ELEMENT;
/** Room for a few rows of any model from the start, so that decoding never reallocates. */
const MIN_BUFFER_BYTES = 64 * 1024;

type ScratchName = 'rows' | 'items' | 'activations' | 'partial';
const NAMES: readonly ScratchName[] = ['rows', 'items', 'activations', 'partial'];

export interface ScratchBuffers extends Readonly<Record<ScratchName, GPUBuffer>> {
  /** Changes whenever a buffer is replaced. */
  version: number;
}

/** Bytes that each scratch buffer needs for a dispatch pair. */
export function scratchBytes(ffn: ExpertFfn, hiddenSize: number, size: FfnSize): Record<ScratchName, number> {
  return {
    rows: size.numRows * ffn.paddedHidden * F16_BYTES,
    items: ExpertFfn.itemWords(size) * Uint32Array.BYTES_PER_ELEMENT,
    activations: size.numAssignments * ffn.paddedIntermediate * F32_BYTES,
    partial: size.numRows * hiddenSize * F32_BYTES,
  };
}

/**
 * The intermediate buffers of a lap. One set serves all laps in flight: the queue runs them one after another, and uploads
 * to them keep their place in that order.
 */
export class Scratch {
  readonly #device: GPUDevice;
  #buffers: Partial<Record<ScratchName, GPUBuffer>> = {};
  #version = 0;

  constructor(device: GPUDevice) {
    this.#device = device;
  }

  /** Buffers of at least these sizes; `failure` as in `allocate`, for those that had to be made. */
  take(needed: Record<ScratchName, number>): { buffers: ScratchBuffers; failure: Promise<KernelError | undefined> } {
    const failures: Promise<KernelError | undefined>[] = [];
    for (const name of NAMES) {
      const old = this.#buffers[name];
      if (old && old.size >= needed[name]) continue;
      const size = Math.max(MIN_BUFFER_BYTES, 2 ** Math.ceil(Math.log2(needed[name])));
      const usage = USAGE.STORAGE | USAGE.COPY_SRC | USAGE.COPY_DST;
      const { buffer, failure } = allocate(this.#device, { label: `scratch for ${name}`, size, usage });
      old?.destroy();
      this.#buffers[name] = buffer;
      this.#version++;
      failures.push(failure.then((error) => this.#forget(name, buffer, error)));
    }
    const { rows, items, activations, partial } = this.#buffers as Record<ScratchName, GPUBuffer>;
    const failure = Promise.all(failures).then((errors) => errors.find((error) => error !== undefined));
    return { buffers: { rows, items, activations, partial, version: this.#version }, failure };
  }

  destroy(): void {
    for (const name of NAMES) this.#buffers[name]?.destroy();
    this.#buffers = {};
  }

  #forget(name: ScratchName, buffer: GPUBuffer, error: KernelError | undefined): KernelError | undefined {
    if (error && this.#buffers[name] === buffer) delete this.#buffers[name];
    return error;
  }
}

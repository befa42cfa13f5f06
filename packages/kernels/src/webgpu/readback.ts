import { KernelError } from '../backend.ts';
import { allocate, type AllocationFailure, USAGE } from './allocate.ts';
import { Nudge } from './nudge.ts';

/** Idle buffers kept for the next laps: about the number of laps that overlap. */
const MAX_IDLE = 8;
const MIN_BUFFER_BYTES = 16 * 1024;

export interface Readback {
  buffer: GPUBuffer;
  /** undefined for a buffer that was used before. */
  failure: AllocationFailure | undefined;
}

/** Buffers that the CPU can map. Each serves one lap at a time. */
export class ReadbackPool {
  readonly #device: GPUDevice;
  readonly #nudge: Nudge;
  #idle: GPUBuffer[] = [];
  /** Includes idle buffers. */
  #allocatedBytes = 0;
  #destroyed = false;

  constructor(device: GPUDevice) {
    this.#device = device;
    this.#nudge = new Nudge(device.queue);
  }

  get allocatedBytes(): number {
    return this.#allocatedBytes;
  }

  take(bytes: number): Readback {
    const index = this.#idle.findIndex((buffer) => buffer.size >= bytes);
    const reused = index < 0 ? undefined : this.#idle.splice(index, 1)[0];
    if (reused) return { buffer: reused, failure: undefined };
    const size = Math.max(MIN_BUFFER_BYTES, 2 ** Math.ceil(Math.log2(bytes)));
    const usage = USAGE.MAP_READ | USAGE.COPY_DST;
    const allocation = allocate(this.#device, { label: 'lap result', size, usage });
    this.#allocatedBytes += size;
    return allocation;
  }

  /** Waits for the copy, calls `use` with the values while they are mapped, and puts the buffer back. */
  async read({ buffer, failure }: Readback, values: number, use: (values: Float32Array) => void): Promise<void> {
    // Mapping a buffer that does not exist would raise an error on the whole device.
    const error = failure && (await failure);
    if (error) {
      this.#drop(buffer);
      throw error;
    }
    const bytes = values * Float32Array.BYTES_PER_ELEMENT;
    try {
      await this.#nudge.during(buffer.mapAsync(USAGE.MAP_READ, 0, bytes));
    } catch (cause) {
      this.#drop(buffer);
      throw new KernelError('device-lost', 'the GPU device was lost while a lap was being computed', { cause });
    }
    try {
      use(new Float32Array(buffer.getMappedRange(0, bytes)));
    } finally {
      buffer.unmap();
      this.#idle.push(buffer);
      if (this.#idle.length > MAX_IDLE) this.#drop(this.#idle.shift()!);
    }
  }

  destroy(): void {
    this.#nudge.stop();
    for (const buffer of this.#idle) buffer.destroy();
    this.#idle = [];
    // Buffers in use are destroyed with the device.
    this.#allocatedBytes = 0;
    this.#destroyed = true;
  }

  #drop(buffer: GPUBuffer): void {
    if (!this.#destroyed) this.#allocatedBytes -= buffer.size;
    buffer.destroy();
  }
}

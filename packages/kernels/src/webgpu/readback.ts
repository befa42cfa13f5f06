import { KernelError } from '../backend.ts';
import { allocate, USAGE } from './allocate.ts';

/** Idle buffers kept for the next laps: as many as laps commonly overlap. */
const MAX_IDLE = 8;
const MIN_BUFFER_BYTES = 16 * 1024;

export interface Readback {
  buffer: GPUBuffer;
  failure: Promise<KernelError | undefined>;
}

/** Buffers that the CPU can map. Each serves one lap at a time. */
export class ReadbackPool {
  readonly #device: GPUDevice;
  #idle: GPUBuffer[] = [];

  constructor(device: GPUDevice) {
    this.#device = device;
  }

  take(bytes: number): Readback {
    const index = this.#idle.findIndex((buffer) => buffer.size >= bytes);
    const reused = index < 0 ? undefined : this.#idle.splice(index, 1)[0];
    if (reused) return { buffer: reused, failure: Promise.resolve(undefined) };
    const size = Math.max(MIN_BUFFER_BYTES, 2 ** Math.ceil(Math.log2(bytes)));
    return allocate(this.#device, { label: 'lap result', size, usage: USAGE.MAP_READ | USAGE.COPY_DST });
  }

  /** Wait for the copy, take the values out, and put the buffer back. */
  async read({ buffer, failure }: Readback, target: Float32Array): Promise<void> {
    const mapped = buffer.mapAsync(USAGE.MAP_READ, 0, target.byteLength);
    // A failed allocation says more than the failed mapping that follows from it.
    const [error, mapping] = await Promise.all([
      failure,
      mapped.then(
        () => undefined,
        (cause: unknown) => ({ cause }),
      ),
    ]);
    if (error || mapping) {
      buffer.destroy();
      throw error ?? new KernelError('device-lost', 'the GPU device was lost while a lap was being computed', mapping);
    }
    target.set(new Float32Array(buffer.getMappedRange(0, target.byteLength)));
    buffer.unmap();
    this.#idle.push(buffer);
    if (this.#idle.length > MAX_IDLE) this.#idle.shift()?.destroy();
  }

  destroy(): void {
    for (const buffer of this.#idle) buffer.destroy();
    this.#idle = [];
  }
}

import { KernelError } from '../backend.ts';

/** GPUBufferUsage, whose global is missing if the GPU comes from a Node addon. */
export const USAGE = { MAP_READ: 0x01, COPY_SRC: 0x04, COPY_DST: 0x08, STORAGE: 0x80 } as const;

/** The error of an allocation, or undefined if it succeeded. Never rejects. */
export type AllocationFailure = Promise<KernelError | undefined>;

export interface Allocation {
  buffer: GPUBuffer;
  failure: AllocationFailure;
}

/**
 * Creates a buffer and reports later whether it exists. WebGPU returns a buffer object at once and reports a lack of memory only
 * to an error scope; work on such a buffer silently computes nothing.
 */
export function allocate(device: GPUDevice, descriptor: GPUBufferDescriptor): Allocation {
  device.pushErrorScope('out-of-memory');
  device.pushErrorScope('validation');
  const what = `no GPU memory for ${descriptor.label} (${descriptor.size} bytes)`;
  const failure = async (): AllocationFailure => {
    const pops = [device.popErrorScope(), device.popErrorScope()];
    try {
      const error = (await Promise.all(pops)).find((scope) => scope !== null);
      return error ? new KernelError('out-of-memory', `${what}: ${error.message}`) : undefined;
    } catch (cause) {
      return new KernelError('device-lost', 'the GPU device was lost while memory was being allocated', { cause });
    }
  };
  try {
    return { buffer: device.createBuffer(descriptor), failure: failure() };
  } catch (cause) {
    void failure();
    throw new KernelError('out-of-memory', what, { cause });
  }
}

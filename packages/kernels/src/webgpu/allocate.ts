import { KernelError } from '../backend.ts';

/** GPUBufferUsage, whose global is missing where the GPU comes from a Node addon. */
export const USAGE = { MAP_READ: 0x01, COPY_SRC: 0x04, COPY_DST: 0x08, STORAGE: 0x80 } as const;

export interface Allocation {
  buffer: GPUBuffer;
  /** The error if the buffer could not be had; undefined if it is good. Never rejects. */
  failure: Promise<KernelError | undefined>;
}

/**
 * A buffer and, later, whether it exists. WebGPU hands out a buffer object at once and reports a lack of memory only to an
 * error scope; work on such a buffer computes nothing, without a further word.
 */
export function allocate(device: GPUDevice, descriptor: GPUBufferDescriptor): Allocation {
  device.pushErrorScope('out-of-memory');
  device.pushErrorScope('validation');
  let buffer: GPUBuffer;
  const failure = async (): Promise<KernelError | undefined> => {
    const pops = [device.popErrorScope(), device.popErrorScope()];
    try {
      const error = (await Promise.all(pops)).find((scope) => scope !== null);
      if (!error) return undefined;
      return new KernelError(
        'out-of-memory',
        `no GPU memory for ${descriptor.label} (${descriptor.size} bytes): ${error.message}`,
      );
    } catch (cause) {
      return new KernelError('device-lost', 'the GPU device was lost while memory was being allocated', { cause });
    }
  };
  try {
    buffer = device.createBuffer(descriptor);
  } catch (cause) {
    void failure();
    throw new KernelError('out-of-memory', `no GPU memory for ${descriptor.label} (${descriptor.size} bytes)`, {
      cause,
    });
  }
  return { buffer, failure: failure() };
}

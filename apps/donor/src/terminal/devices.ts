import { availableParallelism } from 'node:os';
import { hasWasmSimd } from '@shoal/peer';
import { createDawnBackend, createWasmBackend, openDawn } from '@shoal/peer/node';
import type { AdapterInfo } from '@shoal/protocol';
import { cpuAdapter, type Device, gpuAdapter, lentThreads } from '../device.ts';
import type { TabPlace } from '../tab-host.ts';

/** A device of this machine that can be lent, as the coordinator and people are told of it. */
export interface FoundDevice {
  device: Device;
  adapter: AdapterInfo;
}

/** There is no such device; the message says what to do. */
export class NoDeviceError extends Error {
  override name = 'NoDeviceError';
}

/** What a Vulkan driver's absence looks like is all the same to Dawn: no adapter. */
const NO_ADAPTER =
  process.platform === 'linux'
    ? 'no GPU was found: install its Vulkan driver (vulkaninfo --summary lists what there is)'
    : 'no GPU was found: update its driver';

/**
 * Looks for the device that is wanted; by default the GPU, and the processor where there is none. Throws a NoDeviceError. `why`: what
 * the GPU's absence was put down to, where the processor was taken for it.
 */
export async function findDevice(wanted: Device | undefined): Promise<FoundDevice & { why?: string }> {
  if (wanted === 'cpu') return cpu();
  try {
    return await gpu();
  } catch (error) {
    const why = (error as Error).message;
    if (wanted === 'gpu') throw new NoDeviceError(`${why}, or lend the processor (--device cpu)`, { cause: error });
    return { ...cpu(), why };
  }
}

function cpu(): FoundDevice {
  if (!hasWasmSimd()) throw new NoDeviceError('this Node has no WebAssembly with SIMD: use a newer one');
  return { device: 'cpu', adapter: cpuAdapter(nodeThreads()) };
}

async function gpu(): Promise<FoundDevice> {
  return { device: 'gpu', adapter: gpuAdapter(await requestAdapter()) };
}

async function requestAdapter(): Promise<GPUAdapter> {
  const adapter = await (await openDawn()).requestAdapter({ powerPreference: 'high-performance' });
  if (!adapter) throw new NoDeviceError(NO_ADAPTER);
  return adapter;
}

export const createBackend: TabPlace['createBackend'] = async (device, shape) => {
  if (device === 'cpu') return createWasmBackend({ shape, threads: nodeThreads() });
  // An adapter makes one device; a lost device needs another.
  return (await createDawnBackend({ gpu: await requestAdapter(), shape })).backend;
};

function nodeThreads(): number {
  return lentThreads(availableParallelism(), true);
}

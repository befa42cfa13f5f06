import type { ExpertShape } from '@shoal/weights';
import { KernelError, type ExpertBackend } from '../backend.ts';
import { ExpertFfn } from '../wgsl/expert-ffn/expert-ffn.ts';
import { WebGpuExpertBackend } from './backend.ts';

/** What a donor tells of its GPU. Texts have at most 200 characters. */
export interface WebGpuAdapterInfo {
  vendor: string;
  architecture: string;
  description: string;
  isFallbackAdapter: boolean;
  maxBufferBytes: number;
  maxStorageBindingBytes: number;
}

export interface WebGpuBackend {
  backend: ExpertBackend;
  adapterInfo: WebGpuAdapterInfo;
}

const MAX_TEXT = 200;

/** See `createWebGpuBackend` of the package. `maxScratchBytes` is lowered by tests, to see a lap cut into pieces. */
export async function createWebGpuBackend(options: {
  gpu: GPU | GPUAdapter;
  shape: ExpertShape;
  maxScratchBytes?: number;
}): Promise<WebGpuBackend> {
  const adapter = await adapterOf(options.gpu);
  const device = await deviceOf(adapter);
  try {
    const ffn = await ExpertFfn.compile(device, options.shape);
    const backend = new WebGpuExpertBackend(device, ffn, options.shape, options.maxScratchBytes);
    return { backend, adapterInfo: infoOf(adapter) };
  } catch (error) {
    device.destroy();
    throw error;
  }
}

async function adapterOf(gpu: GPU | GPUAdapter): Promise<GPUAdapter> {
  if (!('requestAdapter' in gpu)) return gpu;
  const adapter = await gpu.requestAdapter({ powerPreference: 'high-performance' });
  if (adapter) return adapter;
  throw new KernelError(
    'no-adapter',
    'WebGPU is there but found no GPU: update the graphics driver, or switch on hardware acceleration in the browser',
  );
}

async function deviceOf(adapter: GPUAdapter): Promise<GPUDevice> {
  const { maxBufferSize, maxStorageBufferBindingSize } = adapter.limits;
  try {
    // The defaults would do for 128 MiB of a layer; the adapter's own limits hold more of it.
    return await adapter.requestDevice({ requiredLimits: { maxBufferSize, maxStorageBufferBindingSize } });
  } catch (cause) {
    const detail = cause instanceof Error ? cause.message : String(cause);
    throw new KernelError('limits', `the GPU gave no device: ${detail}`, { cause });
  }
}

function infoOf({ info, limits }: GPUAdapter): WebGpuAdapterInfo {
  return {
    vendor: info.vendor.slice(0, MAX_TEXT),
    architecture: info.architecture.slice(0, MAX_TEXT),
    description: info.description.slice(0, MAX_TEXT),
    isFallbackAdapter: info.isFallbackAdapter,
    maxBufferBytes: limits.maxBufferSize,
    maxStorageBindingBytes: limits.maxStorageBufferBindingSize,
  };
}

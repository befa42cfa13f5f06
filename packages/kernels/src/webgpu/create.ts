import { messageOf } from '@shoal/model';
import type { ExpertShape } from '@shoal/weights';
import { KernelError, type ExpertBackend } from '../backend.ts';
import { variantName, type FfnVariant } from '../wgsl/expert-ffn/variants.ts';
import { WebGpuExpertBackend, type BufferLimits } from './backend.ts';
import { chooseFfn } from './choose.ts';

/** A GPU's properties, as a peer reports them. Texts have at most 200 characters. */
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
  /** The kernels' variant, as text for people. */
  variant: string;
  adapterInfo: WebGpuAdapterInfo;
}

const MAX_TEXT = 200;

export interface WebGpuBackendOptions extends BufferLimits {
  gpu: GPU | GPUAdapter;
  shape: ExpertShape;
  /** By default the fastest that the device can run. */
  variant?: FfnVariant;
}

/** See `createWebGpuBackend` of the package. */
export async function createWebGpuBackend(options: WebGpuBackendOptions): Promise<WebGpuBackend> {
  const adapter = await adapterOf(options.gpu);
  const device = await deviceOf(adapter);
  try {
    const ffn = await chooseFfn(device, options.shape, options.variant);
    const backend = new WebGpuExpertBackend(device, ffn, options);
    return { backend, variant: variantName(ffn.variant), adapterInfo: infoOf(adapter) };
  } catch (error) {
    device.destroy();
    throw error;
  }
}

async function adapterOf(gpu: GPU | GPUAdapter): Promise<GPUAdapter> {
  if (!('requestAdapter' in gpu)) return gpu;
  const adapter = await gpu.requestAdapter({ powerPreference: 'high-performance' });
  if (adapter) return adapter;
  const remedy = 'update the graphics driver, or turn on hardware acceleration in the browser';
  throw new KernelError('no-adapter', `WebGPU is available but found no GPU: ${remedy}`);
}

async function deviceOf(adapter: GPUAdapter): Promise<GPUDevice> {
  const { maxBufferSize, maxStorageBufferBindingSize } = adapter.limits;
  try {
    // The default limits suffice for slabs of 128 MiB; the adapter's own allow fewer and larger ones.
    return await adapter.requestDevice({
      requiredFeatures: adapter.features.has('subgroups') ? ['subgroups'] : [],
      requiredLimits: { maxBufferSize, maxStorageBufferBindingSize },
    });
  } catch (cause) {
    throw new KernelError('limits', `the GPU provided no device: ${messageOf(cause)}`, { cause });
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

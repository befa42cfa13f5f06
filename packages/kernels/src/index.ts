import type { ExpertShape } from '@shoal/weights';
import type { ExpertBackend } from './backend.ts';
import type { WasmVariant } from './wasm/features.ts';
import type { WebGpuBackend } from './webgpu/create.ts';

export { adapterRange, type HeldAdapter, type ItemAdapters, uniformWorkItem, type WorkItem } from '@shoal/model';
export type { ExpertShape } from '@shoal/weights';
export { positionBytes } from './dense/kv-pages.ts';
export { type ExpertBackend, type ExpertOutput, KernelError, type TakeSums } from './backend.ts';
export { createReferenceBackend } from './reference.ts';
export { hasWasmSimd, runnableVariants, variantFile } from './wasm/features.ts';

/**
 * Creates a backend with its own WebGPU device and compiled pipelines. `gpu` is `navigator.gpu` or an adapter.
 * Throws KernelError `no-adapter`, `limits`, `compile` or `out-of-memory`.
 */
export async function createWebGpuBackend(options: {
  gpu: GPU | GPUAdapter;
  shape: ExpertShape;
}): Promise<WebGpuBackend> {
  // Imported when called: the shaders are `?raw` imports, which Vite supports but plain Node does not, and the coordinator
  // loads this package in plain Node for its reference backend.
  const webgpu = await import('./webgpu/create.ts');
  return webgpu.createWebGpuBackend(options);
}

/**
 * Creates a backend on the CPU for a browser's worker; for Node see `@shoal/kernels/node`. `variant` is the best by default.
 * Throws KernelError `no-adapter` or `compile`.
 */
export async function createWasmBackend(options: {
  shape: ExpertShape;
  threads: number;
  variant?: WasmVariant;
}): Promise<ExpertBackend> {
  // As above: the modules are `?url` imports.
  const wasm = await import('./wasm/browser.ts');
  return wasm.createWasmBackend(options);
}

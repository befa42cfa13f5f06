import type { ExpertShape } from '@shoal/weights';
import type { WasmVariant } from './wasm/features.ts';
import type { WebGpuBackend } from './webgpu/create.ts';

import type { ExpertBackend } from './backend.ts';

export * from './backend.ts';
export { uniformWorkItem, type WorkItem } from '@shoal/model';
export * from './dense/index.ts';
export { MAX_ASSIGNMENTS_PER_ROW } from './check-work-item.ts';
export { createReferenceBackend } from './reference.ts';
export { bestVariant, hasWasmSimd, runnableVariants, variantFile, type WasmVariant } from './wasm/features.ts';
export type { WebGpuAdapterInfo, WebGpuBackend } from './webgpu/create.ts';

/**
 * A backend on a WebGPU device of its own, its pipelines compiled. `gpu` is `navigator.gpu` or an adapter already chosen.
 * Throws KernelError `no-adapter`, `limits`, `compile` or `out-of-memory`.
 */
export async function createWebGpuBackend(options: {
  gpu: GPU | GPUAdapter;
  shape: ExpertShape;
}): Promise<WebGpuBackend> {
  // Imported when called: the shaders are `?raw` imports, which Vite understands and plain Node does not, and the
  // coordinator loads this package in plain Node for its reference backend.
  const webgpu = await import('./webgpu/create.ts');
  return webgpu.createWebGpuBackend(options);
}

/**
 * A backend on the processor, for a browser's worker; Node has its own in `@shoal/kernels/node`. `variant` is chosen where
 * it isn't given. Throws KernelError `no-adapter` or `compile`.
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

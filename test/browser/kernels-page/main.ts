import { createWasmBackend, createWebGpuBackend, KernelError, runnableVariants, variantFile } from '@shoal/kernels';
import { runConformance } from '../../../packages/kernels/src/conformance.ts';

// What the test calls in the page. The factory fails where there is no adapter, and with it every case.
Object.assign(globalThis, {
  runKernelConformance: () =>
    runConformance(async (shape) => {
      if (!navigator.gpu) throw new KernelError('no-adapter', 'this browser has no WebGPU');
      return (await createWebGpuBackend({ gpu: navigator.gpu, shape })).backend;
    }),
  wasmVariants: () => runnableVariants().map(variantFile),
  runWasmConformance: (file: string) => {
    const variant = runnableVariants().find((candidate) => variantFile(candidate) === file)!;
    return runConformance((shape) => createWasmBackend({ shape, variant, threads: 2 }));
  },
});

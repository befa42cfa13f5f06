import { createWasmBackend, KernelError, runnableVariants, variantFile } from '@shoal/kernels';
import type { Quant } from '@shoal/weights';
import { hostCases, kernelCases, runConformance } from '../../../packages/kernels/src/conformance.ts';
import { createWebGpuBackend } from '../../../packages/kernels/src/webgpu/create.ts';
import type { FfnVariant } from '../../../packages/kernels/src/wgsl/expert-ffn/variants.ts';

/** `f32, subgroup loads` → the variant of that name. */
function variantNamed(name: string): FfnVariant {
  const [arithmetic, loads] = name.replace(' loads', '').split(', ');
  return { arithmetic, loads } as FfnVariant;
}

// What the test calls in the page. The factory fails where there is no adapter, and with it every case.
Object.assign(globalThis, {
  runKernelConformance: () => {
    // Choosing compiles and tries every variant, so the other shapes of a format reuse the first one's choice.
    const chosen = new Map<Quant, FfnVariant>();
    return runConformance(
      async (shape) => {
        if (!navigator.gpu) throw new KernelError('no-adapter', 'this browser has no WebGPU');
        const named = chosen.get(shape.quant);
        const made = await createWebGpuBackend({ gpu: navigator.gpu, shape, ...(named && { variant: named }) });
        chosen.set(shape.quant, variantNamed(made.variant));
        return made.backend;
      },
      [...kernelCases(), ...hostCases()],
    );
  },
  wasmVariants: () => runnableVariants().map(variantFile),
  runWasmConformance: (file: string) => {
    const variant = runnableVariants().find((candidate) => variantFile(candidate) === file)!;
    return runConformance((shape) => createWasmBackend({ shape, variant, threads: 2 }), kernelCases());
  },
});

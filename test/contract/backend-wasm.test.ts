import { createWasmBackend, runnableVariants, variantFile } from '@shoal/kernels/node';
import { describeExpertBackend } from './backend-suite.ts';

for (const variant of runnableVariants()) {
  const threads = variant.threads ? 3 : 1;
  describeExpertBackend(`wasm (${variantFile(variant)}, threads: ${threads})`, (shape) =>
    createWasmBackend({ shape, variant, threads }),
  );
}

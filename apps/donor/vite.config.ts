import { defineConfig } from 'vite';

// Every asset is the coordinator's own: it serves `dist` at `/`, with a policy that allows neither inline scripts nor other origins.
export default defineConfig({
  root: import.meta.dirname,
  base: './',
  oxc: { jsx: { runtime: 'automatic', importSource: 'preact' } },
  worker: { format: 'es' },
  build: {
    outDir: 'dist',
    emptyOutDir: true,
    target: 'es2023',
    // Inlined, the polyfill is a script that the policy forbids; every browser with WebGPU preloads modules itself.
    modulePreload: { polyfill: false },
  },
});

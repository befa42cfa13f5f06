import { defineConfig } from 'vite';

// The coordinator serves `dist` at `/` with a content policy that allows neither inline scripts nor other origins.
export default defineConfig({
  root: import.meta.dirname,
  base: './',
  oxc: { jsx: { runtime: 'automatic', importSource: 'preact' } },
  worker: { format: 'es' },
  build: {
    outDir: 'dist',
    emptyOutDir: true,
    target: 'es2023',
    // The policy forbids the inlined polyfill, and every browser with WebGPU preloads modules itself.
    modulePreload: { polyfill: false },
  },
});

import { join } from 'node:path';
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
    rolldownOptions: {
      input: {
        index: join(import.meta.dirname, 'index.html'),
        // The frame that other sites show, and the script with which they do.
        embed: join(import.meta.dirname, 'embed.html'),
        donate: join(import.meta.dirname, 'src/embed/donate.ts'),
      },
      output: { entryFileNames: ({ name }) => (name === 'donate' ? 'donate.js' : 'assets/[name]-[hash].js') },
    },
  },
});

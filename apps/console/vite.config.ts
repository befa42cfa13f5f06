import { defineConfig } from 'vite';

export default defineConfig({
  root: import.meta.dirname,
  // Relative, since a coordinator may be behind a path prefix. Its pages are all directly under it.
  base: './',
  oxc: { jsx: { runtime: 'automatic', importSource: 'preact' } },
  build: {
    outDir: 'dist',
    // Must not collide with the donor page, which is served at `/` with its assets in `/assets/`.
    assetsDir: 'console-assets',
    emptyOutDir: true,
    target: 'es2022',
    modulePreload: { polyfill: false },
  },
});
